"""Who did what to whom: append-only (a trigger refuses the rest), each row chained to the last.

Every row holds the hash of the one before it, so a row changed or taken away by someone with
the rights of the database's owner breaks the chain, and :func:`first_break` names the place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import BigInteger, DateTime, Text, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing.context import Ctx
from brain.plumbing.db import Base, Tx

# Whole numbers and text only: a float would not come back from JSONB as it went in.
Detail = Mapping[str, str | int | bool | None]

CHAIN_START = "0" * 64
_CHAIN_LOCK = 0x67616E6701


class Audit(Base):
    __tablename__ = "audit"

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text, index=True)
    detail: Mapped[dict[str, str | int | bool | None]] = mapped_column(JSONB)
    hash_before: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(Text)


@dataclass(frozen=True)
class Entry:
    """What the hash covers."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: Detail

    def hash_after(self, before: str) -> str:
        line = json.dumps(
            [
                before,
                self.seq,
                self.at.astimezone(UTC).isoformat(timespec="microseconds"),
                self.actor,
                self.action,
                self.subject,
                dict(self.detail),
            ],
            sort_keys=True,
            separators=(",", ":"),
        )
        return hashlib.sha256(line.encode()).hexdigest()


async def record(
    tx: Tx, ctx: Ctx, actor: str, action: str, subject: str, detail: Detail | None = None
) -> None:
    """Write one line of the audit log in this transaction.

    Call it last: it holds the chain's lock until the transaction ends.
    """
    await tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CHAIN_LOCK})
    last = (
        await tx.execute(select(Audit.seq, Audit.hash).order_by(Audit.seq.desc()).limit(1))
    ).one_or_none()
    entry = Entry(
        seq=1 if last is None else last.seq + 1,
        at=ctx.clock.now(),
        actor=actor,
        action=action,
        subject=subject,
        detail=detail or {},
    )
    before = CHAIN_START if last is None else last.hash
    tx.add(
        Audit(
            seq=entry.seq,
            at=entry.at,
            actor=actor,
            action=action,
            subject=subject,
            detail=dict(entry.detail),
            hash_before=before,
            hash=entry.hash_after(before),
        )
    )
    await tx.flush()


async def first_break(tx: Tx, *, page: int = 1000) -> int | None:
    """The number of the first row that does not follow from the one before; None when whole."""
    before, seq = CHAIN_START, 0
    while True:
        rows = list(
            await tx.scalars(select(Audit).where(Audit.seq > seq).order_by(Audit.seq).limit(page))
        )
        for row in rows:
            entry = Entry(row.seq, row.at, row.actor, row.action, row.subject, row.detail)
            follows = row.seq == seq + 1 and row.hash_before == before
            if not follows or row.hash != entry.hash_after(before):
                return seq + 1
            before, seq = row.hash, row.seq
        if len(rows) < page:
            return None
