"""Group commit: what gathers while the last commit runs goes into the next one together.

One round trip and one disk sync serve many callers, with no timer: an idle ledger answers at once,
a busy one posts in larger batches.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

import structlog
from sqlalchemy.exc import DBAPIError

from brain.billing.core.posting import Posting
from brain.billing.store import journal
from brain.billing.store.journal import Posted
from brain.plumbing import Ctx, Db
from kernel.errors import Unavailable

BATCH_MAX = 1000
LANES = 2  # one gathers and is answered while the other is with the database
PART_MIN = 200  # what a call costs by itself is little beside so many
WAITING_MAX = 20_000
TRIES_MAX = 5
# serialization failure, deadlock: the transaction did nothing and may be tried again
RETRIED = frozenset({"40001", "40P01"})

_log = structlog.get_logger()


class GroupCommit:
    """Posts for one database from one event loop."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Posting, asyncio.Future[Posted]]] = []
        self._lanes: set[asyncio.Task[None]] = set()
        self._busy = 0  # lanes that are with the database

    async def post(self, ctx: Ctx, posting: Posting) -> Posted:
        """Returns after the commit that holds ``posting``. Raises ``Conflict`` when its key was
        used for something else. May be repeated with the same posting."""
        if len(self._waiting) >= WAITING_MAX:
            raise Unavailable("The ledger is busy; try again in a moment.", retry_after=1)
        future: asyncio.Future[Posted] = asyncio.get_running_loop().create_future()
        self._waiting.append((posting, future))
        if len(self._lanes) < LANES:
            lane = asyncio.create_task(self._run(ctx))
            self._lanes.add(lane)
            lane.add_done_callback(self._lanes.discard)
        posted = await future
        journal.raise_conflict(posting, posted)
        return posted

    async def _run(self, ctx: Ctx) -> None:
        while self._waiting:
            batch = self._gathered()
            self._busy += 1
            try:
                done = await _commit(ctx, [posting for posting, _ in batch])
            except Exception as error:  # told to every caller, who decides
                _log.warning("ledger_batch_failed", postings=len(batch), error=repr(error))
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            finally:
                self._busy -= 1
            for (_, future), posted in zip(batch, done, strict=True):
                if not future.done():
                    future.set_result(posted)

    def _gathered(self) -> list[tuple[Posting, asyncio.Future[Posted]]]:
        """This lane's part of what waits. Were it all of very many, they would post together again
        after this commit, and the database and this process take turns for good."""
        part = -(-len(self._waiting) // (LANES - self._busy))
        size = min(BATCH_MAX, max(PART_MIN, part))
        batch, self._waiting = self._waiting[:size], self._waiting[size:]
        return batch


async def _commit(ctx: Ctx, postings: list[Posting]) -> list[Posted]:
    for attempt in range(TRIES_MAX):
        try:
            return await journal.post_alone(ctx.db, postings, ctx.clock.now())
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in RETRIED or attempt == TRIES_MAX - 1:
                raise
        # The tail of a time-ordered id is chance: it spreads those who failed together.
        await ctx.clock.sleep((1 + int(postings[0].id[-2:], 16) / 256) * 0.01 * 2**attempt)
    raise AssertionError("the last try returns or raises")


_groups: WeakKeyDictionary[Db, GroupCommit] = WeakKeyDictionary()


async def post(ctx: Ctx, posting: Posting) -> Posted:
    """Post through this database's group commit."""
    group = _groups.get(ctx.db)
    if group is None:
        group = _groups[ctx.db] = GroupCommit()
    return await group.post(ctx, posting)
