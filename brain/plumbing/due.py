"""Whether work rows are due: one cheap look for all the reconcilers that would ask at once.

To take rows is an update; most seconds there is none to take, of any kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    DateTime,
    ScalarResult,
    Select,
    bindparam,
    column,
    literal,
    or_,
    select,
    table,
    union_all,
)

from brain.plumbing.context import Ctx


class DueRows:
    """Over ``tables`` of work rows. Who asks in one turn of the loop shares a look; who asks later
    has another, as rows may have come meanwhile."""

    def __init__(self, ctx: Ctx, tables: Collection[str]) -> None:
        self._ctx = ctx
        self._question = union_all(*map(_look_into, tables))
        self._next: asyncio.Task[frozenset[str]] | None = None

    async def any_in(self, tables: Collection[str]) -> bool:
        """Whether a row of one of these is due that nobody holds."""
        if self._next is None:
            self._next = asyncio.create_task(self._look(), name="due rows")
        return not (await asyncio.shield(self._next)).isdisjoint(tables)

    async def _look(self) -> frozenset[str]:
        self._next = None
        async with self._ctx.db.glance() as tx:
            found: ScalarResult[str] = await tx.scalars(
                self._question, {"now": self._ctx.clock.now()}
            )
            return frozenset(found)


def _look_into(name: str) -> Select[Any]:
    """The table's name, where a row of it is due and free."""
    now: BindParameter[datetime] = bindparam("now", type_=DateTime(timezone=True))
    due_at, until = column("due_at", now.type), column("work_until", now.type)
    rows = select(due_at).select_from(table(name, due_at, until))
    due = rows.where(due_at <= now, or_(until.is_(None), until <= now))
    return select(literal(name)).where(due.exists())
