"""An account's statement, filtered by kind and time, newest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from brain.billing.core.posting import Asset
from brain.billing.models import JournalEntry, JournalTx
from brain.billing.store.journal import Line
from brain.plumbing import Tx
from kernel.ids import TxId


@dataclass(frozen=True)
class Wanted:
    """Which lines; nothing said: all. ``since`` is included, ``until`` is not."""

    kinds: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


async def statement(
    tx: Tx, account: str, wanted: Wanted, *, before: str | None, limit: int
) -> list[Line]:
    """Dollar lines of the account, before a transaction's id where one is given."""
    query = (
        select(JournalTx.id, JournalTx.kind, JournalTx.memo, JournalTx.at, JournalEntry.amount)
        .join(JournalTx, JournalTx.id == JournalEntry.tx_id)
        .where(JournalEntry.ledger_account == account, JournalEntry.asset == Asset.USD.value)
        .order_by(JournalEntry.tx_id.desc(), JournalEntry.line)
        .limit(limit)
    )
    if before is not None:
        query = query.where(JournalEntry.tx_id < TxId(before))
    if wanted.kinds:
        query = query.where(JournalTx.kind.in_(wanted.kinds))
    if wanted.since is not None:
        query = query.where(JournalTx.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(JournalTx.at < wanted.until)
    return [Line(r[0], r[1], r[2], int(r[4]), r[3]) for r in await tx.execute(query)]
