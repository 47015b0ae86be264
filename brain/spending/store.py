"""SQL of warnings: accounts that crossed their line, or were stopped and not told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert

from brain.plumbing import Tx
from brain.spending.core import again_nano
from brain.spending.models import Alert
from kernel.ids import AccountId

# Accounts whose side of their line is another than was seen, or that were stopped since they
# were last told. A first look at an account notes its side and warns nobody.
_NEWS = text(
    """
    SELECT b.ledger_account AS account,
           (b.posted - b.held)::bigint AS free, a.account_id IS NULL AS fresh
    FROM balance b
    LEFT JOIN spending_alert a ON a.account_id = b.ledger_account
    LEFT JOIN account_standing s ON s.account_id = b.ledger_account
    CROSS JOIN LATERAL (SELECT coalesce(a.threshold_nano, CAST(:line AS bigint)) AS at) t
    WHERE b.asset = 'USD' AND b.ledger_account LIKE 'acct\\_%' AND b.ledger_account NOT LIKE '%:%'
      AND b.ledger_account <> :platform
      AND (a.account_id IS NULL
           OR (NOT a.below AND b.posted - b.held < t.at)
           OR (a.below AND b.posted - b.held >= t.at + t.at / 10 + 1000000000)
           OR (a.below AND t.at = 0)
           OR (s.stop_at IS NOT NULL AND a.stop_told_at IS DISTINCT FROM s.stop_at))
    ORDER BY b.ledger_account LIMIT :limit
    """
)
assert again_nano(0) == 1_000_000_000, "the query above says the same"


@dataclass(frozen=True)
class News:
    account: AccountId
    free_nano: int
    fresh: bool


async def news(tx: Tx, *, line_nano: int, platform: str, limit: int) -> Sequence[News]:
    values = {"line": line_nano, "platform": platform, "limit": limit}
    rows = await tx.execute(_NEWS, values)
    return [News(AccountId(r.account), int(r.free), r.fresh) for r in rows]


async def alert(tx: Tx, account: AccountId, *, lock: bool = False) -> Alert:
    """The account's row, made where there is none; locked where asked."""
    row = insert(Alert).values(account_id=account, threshold_nano=None, email="", below=False)
    await tx.execute(row.on_conflict_do_nothing())
    query = select(Alert).where(Alert.account_id == account)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return (await tx.scalars(query)).one()


async def set_alert(
    tx: Tx, account: AccountId, *, threshold_nano: int | None, email: str, below: bool
) -> None:
    """``below``: the side of the new line on which the balance is now; that is no crossing."""
    await alert(tx, account)
    await tx.execute(
        update(Alert)
        .where(Alert.account_id == account)
        .values(threshold_nano=threshold_nano, email=email, below=below)
    )


@dataclass(frozen=True)
class Stop:
    """The account's last stop; ``stands``: it was not lifted since."""

    at: datetime
    reason: str
    stands: bool


async def last_stop(tx: Tx, account: AccountId) -> Stop | None:
    found = await tx.execute(
        text(
            "SELECT stop_at, stop_reason, stopped FROM account_standing"
            " WHERE account_id = :account AND stop_at IS NOT NULL"
        ),
        {"account": account},
    )
    row = found.one_or_none()
    return None if row is None else Stop(row.stop_at, row.stop_reason, row.stopped)
