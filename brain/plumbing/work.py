"""Rows as the queue: taken under a lease, worked on with no transaction open, finished by token.

A worker that dies is replaced when its lease runs out. A worker that comes back late finds
another token on the row, and its result is dropped. ``nudge`` is never lost, not even while the
row is being worked on: taking a row moves ``due_at`` to the lease's end, so an earlier ``due_at``
at the finish means that someone asked meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import DateTime, Text, case, func, inspect, or_, select, update
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing.db import Tx


class Work:
    """Columns of a row that a reconciler works on. ``due_at`` None: nothing to do."""

    __tablename__: str

    due_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True), index=True)
    work_token: Mapped[str | None] = mapped_column(Text)
    work_owner: Mapped[str | None] = mapped_column(Text)
    work_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


WorkT = TypeVar("WorkT", bound=Work)


def _key_column(model: type[Work]) -> Any:
    mapper = inspect(model)
    assert mapper is not None, "a work row is a mapped class"
    assert len(mapper.primary_key) == 1, "a work row has a primary key of one column"
    return mapper.primary_key[0]


async def take(
    tx: Tx,
    model: type[WorkT],
    *,
    now: datetime,
    owner: str,
    token: str,
    lease_seconds: int,
    limit: int,
    where: Sequence[Any] = (),
    early: timedelta = timedelta(0),
) -> list[WorkT]:
    """Rows that are due and that nobody holds, now held under ``token``; the longest due first.
    ``early``: also those that are due so soon.

    Commit before working on them. ``token`` must be new for every call.
    """
    key = _key_column(model)
    until = now + timedelta(seconds=lease_seconds)
    free = or_(model.work_until.is_(None), model.work_until <= now)
    due = (
        select(key)
        .where(model.due_at <= now + early, free, *where)
        .order_by(model.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    taken = await tx.scalars(
        update(model)
        .where(key.in_(due.scalar_subquery()))
        .values(work_token=token, work_owner=owner, work_until=until, due_at=until)
        .execution_options(synchronize_session=False, populate_existing=True)
        .returning(model)
    )
    return list(taken)


async def finish(tx: Tx, row: Work, token: str, *, due_at: datetime | None) -> bool:
    """Let go of a row and say when it is due next (None: never, until nudged).

    False: the lease ran out and the row is another's, or it was finished before. Roll back.
    """
    model = type(row)
    key = _key_column(model)
    nudged = model.due_at < model.work_until
    done = await tx.execute(
        update(model)
        .where(key == getattr(row, key.key), model.work_token == token)
        .values(
            work_token=None,
            work_owner=None,
            work_until=None,
            due_at=case((nudged, func.least(model.due_at, due_at)), else_=due_at),
        )
        .execution_options(synchronize_session=False)
        .returning(key)
    )
    return done.one_or_none() is not None


async def nudge(tx: Tx, model: type[Work], row_id: str, now: datetime) -> None:
    """Make a row due now; a row being worked on is due again as soon as it is finished."""
    await tx.execute(
        update(model)
        .where(_key_column(model) == row_id)
        .values(due_at=func.least(func.coalesce(model.due_at, now), now))
        .execution_options(synchronize_session=False)
    )
