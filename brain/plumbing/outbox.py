"""Calls to the outside, written in the transaction that wants them and made afterwards.

The row's id is the idempotency key of the outside call, so a repeat after a crash is harmless.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import DateTime, Integer, Text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing.context import Ctx
from brain.plumbing.db import Base, IdColumn, Tx
from brain.plumbing.work import Work, finish, take
from kernel.ids import Ids, WorkId

Payload = dict[str, Any]
Deliver = Callable[[WorkId, Payload], Awaitable[None]]

DELIVERY_SECONDS_MAX = 60
BACKOFF_SECONDS_MAX = 600

_log = structlog.get_logger()


class Outbox(Work, Base):
    """``due_at`` None and ``done_at`` set: delivered."""

    __tablename__ = "outbox"

    id: Mapped[WorkId] = mapped_column(IdColumn(WorkId), primary_key=True)
    topic: Mapped[str] = mapped_column(Text)
    payload: Mapped[Payload] = mapped_column(JSONB)
    attempts: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    done_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


def send(tx: Tx, topic: str, payload: Payload, *, at: datetime, ids: Ids) -> WorkId:
    """Ask for one outside call once this transaction has committed."""
    row = Outbox(
        id=ids.new(WorkId), topic=topic, payload=payload, attempts=0, created_at=at, due_at=at
    )
    tx.add(row)
    return row.id


def backoff_seconds(attempts: int) -> int:
    """1, 2, 4 ... seconds after the first, second, third failure; never more than 10 minutes."""
    return int(min(BACKOFF_SECONDS_MAX, 2 ** min(max(attempts - 1, 0), 20)))


async def deliver_due(
    ctx: Ctx, deliver: Mapping[str, Deliver], *, owner: str, limit: int = 50
) -> int:
    """Make the calls that are due; return how many were delivered. May run many times at once.

    A call that fails is tried again for ever, more and more slowly.
    """
    token = str(ctx.ids.new(WorkId))
    async with ctx.db.begin() as tx:
        rows = await take(
            tx,
            Outbox,
            now=ctx.clock.now(),
            owner=owner,
            token=token,
            lease_seconds=DELIVERY_SECONDS_MAX,
            limit=limit,
            where=[Outbox.topic.in_(list(deliver))],
        )
    delivered = 0
    for row in rows:
        delivered += await _deliver_one(ctx, row, deliver[row.topic], token)
    return delivered


async def _deliver_one(ctx: Ctx, row: Outbox, deliver: Deliver, token: str) -> bool:
    ok = True
    try:
        await deliver(row.id, row.payload)
    except Exception as failure:
        ok = False
        _log.warning("outbox_failed", topic=row.topic, id=row.id, failure=repr(failure))
    now = ctx.clock.now()
    attempts = row.attempts + 1
    again = None if ok else now + timedelta(seconds=backoff_seconds(attempts))
    async with ctx.db.begin() as tx:
        if not await finish(tx, row, token, due_at=again):
            return False
        await tx.execute(
            update(Outbox)
            .where(Outbox.id == row.id)
            .values(attempts=attempts, done_at=now if ok else None)
        )
    return ok
