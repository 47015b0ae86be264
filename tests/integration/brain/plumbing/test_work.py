"""Rows as the queue: held by one, never lost, late results dropped, nudges never lost."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest

from brain.plumbing import Ctx, moves, work
from kernel.clock import ManualClock
from tests.integration.brain.plumbing.tables import LIGHT, Lamp, make_lamps

LEASE = 30


@pytest.fixture(autouse=True)
async def _tables(ctx: Ctx) -> None:
    await make_lamps(ctx)


async def _add(ctx: Ctx, *names: str) -> None:
    now = ctx.clock.now()
    async with ctx.db.begin() as tx:
        for name in names:
            await moves.create(tx, Lamp(id=name, due_at=now), LIGHT, reason="new", at=now)


async def _take(ctx: Ctx, token: str, limit: int = 10) -> list[Lamp]:
    async with ctx.db.begin() as tx:
        return await work.take(
            tx,
            Lamp,
            now=ctx.clock.now(),
            owner="w",
            token=token,
            lease_seconds=LEASE,
            limit=limit,
        )


async def _finish(ctx: Ctx, lamp: Lamp, token: str, again_in: int | None = None) -> bool:
    due = None if again_in is None else ctx.clock.now() + timedelta(seconds=again_in)
    async with ctx.db.begin() as tx:
        return await work.finish(tx, lamp, token, due_at=due)


async def _nudge(ctx: Ctx, name: str) -> None:
    async with ctx.db.begin() as tx:
        await work.nudge(tx, Lamp, name, ctx.clock.now())


async def test_what_is_held_is_not_taken_again(ctx: Ctx) -> None:
    await _add(ctx, "a", "b")
    assert [lamp.id for lamp in await _take(ctx, "t1", limit=1)] in (["a"], ["b"])
    assert len(await _take(ctx, "t2")) == 1
    assert await _take(ctx, "t3") == []


async def test_many_takers_at_once_take_each_row_once(ctx: Ctx) -> None:
    await _add(ctx, *(f"lamp{number}" for number in range(20)))
    taken = await asyncio.gather(*(_take(ctx, f"t{n}", limit=7) for n in range(8)))
    names = [lamp.id for rows in taken for lamp in rows]
    assert len(names) == len(set(names))


async def test_a_dead_worker_is_replaced_when_its_lease_ends(ctx: Ctx, clock: ManualClock) -> None:
    await _add(ctx, "a")
    [late] = await _take(ctx, "t1")
    clock.advance(LEASE)
    [lamp] = await _take(ctx, "t2")
    assert not await _finish(ctx, late, "t1")
    assert await _finish(ctx, lamp, "t2")
    assert not await _finish(ctx, lamp, "t2")


async def test_finished_work_is_due_when_it_was_said_to_be(ctx: Ctx, clock: ManualClock) -> None:
    await _add(ctx, "a")
    [lamp] = await _take(ctx, "t1")
    await _finish(ctx, lamp, "t1", again_in=5)
    assert await _take(ctx, "t2") == []
    clock.advance(5)
    assert len(await _take(ctx, "t3")) == 1


async def test_a_nudge_during_the_work_is_not_lost(ctx: Ctx) -> None:
    await _add(ctx, "a")
    [lamp] = await _take(ctx, "t1")
    await _nudge(ctx, "a")
    assert await _take(ctx, "t2") == []
    await _finish(ctx, lamp, "t1", again_in=None)
    assert len(await _take(ctx, "t3")) == 1


async def test_a_nudge_wakes_what_had_nothing_to_do(ctx: Ctx) -> None:
    await _add(ctx, "a")
    [lamp] = await _take(ctx, "t1")
    await _finish(ctx, lamp, "t1")
    await _nudge(ctx, "a")
    assert len(await _take(ctx, "t2")) == 1


@pytest.mark.parametrize("repeat", range(5))
async def test_whatever_happens_a_nudged_row_is_worked_on_again(
    ctx: Ctx, clock: ManualClock, seed: int, repeat: int
) -> None:
    """Any order of takes, finishes, deaths and nudges: after a nudge there is always a take."""
    chance = random.Random(seed + repeat)
    await _add(ctx, "a")
    held: tuple[Lamp, str] | None = None
    for step in range(60):
        match chance.choice(["take", "finish", "nudge", "die", "wait"]):
            case "take":
                rows = await _take(ctx, f"t{step}")
                held = (rows[0], f"t{step}") if rows else held
            case "finish" if held is not None:
                await _finish(ctx, *held, again_in=chance.choice([None, 3]))
                held = None
            case "nudge":
                await _nudge(ctx, "a")
            case "die":
                held = None
            case "wait":
                clock.advance(chance.choice([1, LEASE]))
    if held is not None:
        await _nudge(ctx, "a")
        await _finish(ctx, *held)
    await _nudge(ctx, "a")
    clock.advance(LEASE)
    assert len(await _take(ctx, "last")) == 1
