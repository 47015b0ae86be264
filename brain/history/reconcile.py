"""One step of the history's loop: roll up what has ended, make room ahead, drop what is old."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from brain.history import store
from brain.plumbing import Ctx
from kernel.clock import NS

SETTLE_S = 20  # after a minute's end its last readings are written
HOUR_SETTLE_S = 120  # and its last minute is rolled up
MINUTES_MAX = 30
HOURS_MAX = 4


@dataclass(frozen=True)
class HistoryStep:
    minutes: int
    hours: int
    dropped: int


async def reconcile_history(ctx: Ctx, *, halt: Callable[[], bool] = lambda: False) -> HistoryStep:
    """May run anywhere, any number of times at once: one process rolls up, the others pass."""
    now_s = ctx.clock.now_ns() // NS
    await store.make_partitions(ctx, now_s)
    minutes = hours = 0
    while minutes < MINUTES_MAX and not halt() and await _minute(ctx, now_s):
        minutes += 1
    while hours < HOURS_MAX and not halt() and await _hour(ctx, now_s):
        hours += 1
    dropped = await store.drop_old(ctx, now_s)
    return HistoryStep(minutes, hours, len(dropped))


async def _minute(ctx: Ctx, now_s: int) -> bool:
    """Roll up the oldest minute that is due. False: there is none, or another process is at it."""
    async with ctx.db.begin() as tx:
        due = await store.oldest_unrolled(tx, now_s - SETTLE_S)
        if due is None or not await store.alone(tx):
            return False
        minute_s = await store.oldest_unrolled(tx, now_s - SETTLE_S)
        if minute_s is not None:
            await store.roll_minute(tx, minute_s)
    return minute_s is not None


async def _hour(ctx: Ctx, now_s: int) -> bool:
    async with ctx.db.begin() as tx:
        due = await store.oldest_dirty_hour(tx, now_s - HOUR_SETTLE_S)
        if due is None or not await store.alone(tx):
            return False
        hour_s = await store.oldest_dirty_hour(tx, now_s - HOUR_SETTLE_S)
        if hour_s is not None:
            await store.roll_hour(tx, hour_s)
    return hour_s is not None
