"""A process that dies at a chosen transaction: before it, inside it, or just after its commit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from enum import StrEnum

from brain.plumbing import Ctx, Db, Tx


class Died(BaseException):
    """Not an Exception: nothing in the product may catch a death."""


class When(StrEnum):
    BEFORE = "before"
    INSIDE = "inside"  # the work is done, the commit is not
    AFTER = "after"  # the commit is done, nobody was told


class MortalDb(Db):
    """The same database, until the ``at``-th transaction; from then on everything dies."""

    def __init__(self, db: Db, at: int, when: When) -> None:
        self.engine = db.engine
        self._real = db
        self._at = at
        self._when = when
        self.count = 0
        self.dead = False

    def glance(self) -> AbstractAsyncContextManager[Tx]:
        return self.begin()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Tx]:
        self.count += 1
        doomed = self.count == self._at
        self._die(doomed and self._when is When.BEFORE)
        async with self._real.begin() as tx:
            yield tx
            self._die(doomed and self._when is When.INSIDE)
        self._die(doomed and self._when is When.AFTER)

    def _die(self, now: bool) -> None:
        self.dead = self.dead or now
        if self.dead:
            raise Died


def mortal(ctx: Ctx, at: int, when: When) -> tuple[Ctx, MortalDb]:
    db = MortalDb(ctx.db, at, when)
    return replace(ctx, db=db), db
