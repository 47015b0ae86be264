"""Rows in, minutes and hours rolled up exactly once, what is old dropped: over a real database."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from sqlalchemy import text

from brain.history import HistoryStep, reconcile_history, store
from brain.history.core import (
    DAY_S,
    HOUR_S,
    KEPT,
    NO_NUMBERS,
    SLOTS,
    Fold,
    fold,
    rolled,
    row_of,
)
from brain.history.store import Want
from brain.plumbing import Ctx
from kernel.clock import NS, ManualClock

pytestmark = pytest.mark.feature("C3")
Sample = tuple[int, int, int]  # series, second, value


def row(series: int, at_s: int, value: int) -> tuple[int, ...]:
    found = row_of(series, at_s, [(value, 1, value, value), *[NO_NUMBERS] * (SLOTS - 1)])
    assert found is not None
    return found


async def put(ctx: Ctx, batch: str, *samples: Sample) -> bool:
    """One batch; all its samples are of one minute."""
    rows = [row(*sample) for sample in samples]
    minute_s = samples[0][1] // 60 * 60
    assert all(at // 60 * 60 == minute_s for _, at, _ in samples)
    return await store.write(ctx, batch, minute_s, rows)


async def kept(ctx: Ctx, base_s: int, series: int = 1) -> dict[int, Fold]:
    async with ctx.db.begin() as tx:
        want = Want(series, 0, 2**40)
        (found,) = await store.read(tx, [want], base_s=base_s, step_s=base_s)
    return {at: folds[0] for at, folds in found.items()}


@pytest.fixture
def now_s(clock: ManualClock) -> int:
    """The start of an hour, and the clock there."""
    start = (clock.now_ns() // NS // DAY_S + 1) * DAY_S + 5 * HOUR_S
    clock.set_wall(start * NS)
    return start


async def test_a_batch_is_in_once_however_often_it_is_sent(ctx: Ctx, now_s: int) -> None:
    assert await put(ctx, "a", (1, now_s, 5), (1, now_s, 7))
    assert not await put(ctx, "a", (1, now_s, 5), (1, now_s, 7))
    assert await kept(ctx, 10) == {now_s: Fold(2, 12, 5, 7)}


async def test_a_batch_that_fails_leaves_nothing_and_may_come_again(ctx: Ctx, now_s: int) -> None:
    broken = (*row(1, now_s, 5)[:-1], 2**40)  # does not fit its column
    with pytest.raises(store.Refused):
        await store.write(ctx, "a", now_s, [row(1, now_s, 1), broken])
    assert await kept(ctx, 10) == {}
    assert await put(ctx, "a", (1, now_s, 5))


async def test_minutes_and_hours_are_what_their_samples_are(
    ctx: Ctx, clock: ManualClock, now_s: int, seed: int
) -> None:
    chance = Random(seed)
    samples = [
        (chance.choice([1, 2]), now_s + at, chance.randrange(1 << 31)) for at in range(0, 7200, 10)
    ]
    for first in range(0, len(samples), 6):
        await put(ctx, f"batch-{first}", *samples[first : first + 6])
    clock.advance(7200 + 200)
    while (await reconcile_history(ctx)).minutes:
        pass
    await reconcile_history(ctx)
    for series in (1, 2):
        raw = [(at, fold([value])) for one, at, value in samples if one == series]
        assert await kept(ctx, 60, series) == rolled(raw, 60)
        assert await kept(ctx, 3600, series) == rolled(raw, 3600)


async def test_a_late_batch_is_folded_in_exactly_once(
    ctx: Ctx, clock: ManualClock, now_s: int
) -> None:
    await put(ctx, "early", (1, now_s, 10))
    clock.advance(HOUR_S + 300)
    assert await reconcile_history(ctx) == HistoryStep(1, 1, 0)
    await put(ctx, "late", (1, now_s + 50, 90))
    await put(ctx, "late", (1, now_s + 50, 90))
    for _ in range(3):
        await reconcile_history(ctx)
    assert await kept(ctx, 60) == {now_s: Fold(2, 100, 10, 90)}
    assert await kept(ctx, 3600) == {now_s: Fold(2, 100, 10, 90)}


async def test_a_minute_that_goes_on_is_not_rolled_up(
    ctx: Ctx, clock: ManualClock, now_s: int
) -> None:
    await put(ctx, "a", (1, now_s, 10))
    clock.advance(70)
    assert (await reconcile_history(ctx)).minutes == 0
    clock.advance(11)
    assert (await reconcile_history(ctx)).minutes == 1


async def test_five_at_once_are_as_one(ctx: Ctx, clock: ManualClock, now_s: int) -> None:
    for place in range(8):
        await put(ctx, f"b{place}", (1, now_s + 60 * place, place))
    clock.advance(900)
    steps = await asyncio.gather(*(reconcile_history(ctx) for _ in range(5)))
    assert sum(step.minutes for step in steps) == 8
    assert sum(one.n for one in (await kept(ctx, 60)).values()) == 8


async def test_what_is_old_is_dropped_and_what_is_not_stays(
    ctx: Ctx, clock: ManualClock, now_s: int
) -> None:
    await put(ctx, "a", (1, now_s, 10))
    clock.advance(HOUR_S + 300)
    await reconcile_history(ctx)
    clock.set_wall((now_s + HOUR_S + KEPT.raw_s - 1) * NS)
    await reconcile_history(ctx)
    assert await kept(ctx, 10)
    clock.set_wall((now_s + HOUR_S + KEPT.raw_s) * NS)
    assert (await reconcile_history(ctx)).dropped == 1
    assert await kept(ctx, 10) == {}
    clock.set_wall((now_s + DAY_S + KEPT.minute_s) * NS)
    await reconcile_history(ctx)
    assert await kept(ctx, 60) == {}
    assert await kept(ctx, 3600)
    clock.set_wall((now_s + 61 * DAY_S + KEPT.hour_s) * NS)
    await reconcile_history(ctx)
    assert await kept(ctx, 3600) == {}


async def test_what_no_worker_rolled_up_yet_is_not_dropped(
    ctx: Ctx, clock: ManualClock, now_s: int
) -> None:
    for place in range(40):  # more than one step rolls up
        await put(ctx, f"b{place}", (1, now_s + 60 * place, place))
    clock.advance(6 * HOUR_S)
    await reconcile_history(ctx)
    assert len(await kept(ctx, 10)) == 40
    await reconcile_history(ctx)
    assert (len(await kept(ctx, 10)), len(await kept(ctx, 60))) == (0, 40)


async def test_batches_of_minutes_long_past_are_forgotten(
    ctx: Ctx, clock: ManualClock, now_s: int
) -> None:
    await put(ctx, "a", (1, now_s, 10))
    clock.advance(KEPT.raw_s + HOUR_S + DAY_S + 120)
    await reconcile_history(ctx)
    async with ctx.db.begin() as tx:
        assert await tx.scalar(text("SELECT count(*) FROM history_flush")) == 0


async def test_a_look_is_cut_to_the_time_that_is_asked(ctx: Ctx, now_s: int) -> None:
    await put(ctx, "a", *((1, now_s + at, at) for at in (0, 10, 20, 30, 40, 50)))
    async with ctx.db.begin() as tx:
        wants = [Want(1, now_s + 10, now_s + 30), Want(1, now_s, now_s + 60), Want(2, 0, 2**40)]
        found = await store.read(tx, wants, base_s=10, step_s=30)
    assert [sorted(one) for one in found] == [[now_s], [now_s, now_s + 30], []]
    assert found[0][now_s][0] == Fold(2, 30, 10, 20)
    assert found[1][now_s + 30][0] == Fold(3, 120, 30, 50)
