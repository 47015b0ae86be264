"""States change by one door: the table, the guard on the version, the history."""

from __future__ import annotations

import asyncio

import pytest

from brain.plumbing import Ctx, Tx, history, move, moves
from kernel.errors import Conflict
from tests.integration.brain.plumbing.tables import LIGHT, Lamp, Light, Press, make_lamps


@pytest.fixture(autouse=True)
async def _tables(ctx: Ctx) -> None:
    await make_lamps(ctx)
    async with ctx.db.begin() as tx:
        await moves.create(tx, Lamp(id="a"), LIGHT, reason="new", at=ctx.clock.now())


async def _lamp(tx: Tx) -> Lamp:
    return await tx.get_one(Lamp, "a")


async def _press(ctx: Ctx, event: Press, reason: str = "because") -> None:
    async with ctx.db.begin() as tx:
        await move(tx, await _lamp(tx), LIGHT, event, reason=reason, at=ctx.clock.now())


async def test_a_move_sets_state_version_reason_and_time(ctx: Ctx) -> None:
    await _press(ctx, Press.GO, "the road is free")
    async with ctx.db.begin() as tx:
        lamp = await _lamp(tx)
    assert (lamp.state, lamp.version) == (Light.GREEN, 2)
    assert (lamp.state_reason, lamp.state_at) == ("the road is free", ctx.clock.now())


async def test_a_move_outside_the_table_is_refused_and_changes_nothing(ctx: Ctx) -> None:
    with pytest.raises(Conflict, match="A light that is red cannot stop"):
        await _press(ctx, Press.STOP)
    async with ctx.db.begin() as tx:
        assert (await _lamp(tx)).version == 1


async def test_the_history_holds_every_state(ctx: Ctx) -> None:
    for event in (Press.GO, Press.STOP, Press.CUT):
        await _press(ctx, event, f"pressed {event}")
    async with ctx.db.begin() as tx:
        rows = await history(tx, "test_lamp", "a")
    assert [(row.version, row.state_before, row.event, row.state) for row in rows] == [
        (1, None, None, "red"),
        (2, "red", "go", "green"),
        (3, "green", "stop", "red"),
        (4, "red", "cut", "off"),
    ]
    assert rows[3].reason == "pressed cut"


async def test_a_stale_row_is_refused(ctx: Ctx) -> None:
    async with ctx.db.begin() as tx:
        stale = await _lamp(tx)
    await _press(ctx, Press.GO)
    await _press(ctx, Press.STOP)
    with pytest.raises(Conflict, match="changed by someone else"):
        async with ctx.db.begin() as tx:
            await move(tx, stale, LIGHT, Press.GO, reason="late", at=ctx.clock.now())


async def test_of_ten_movers_at_once_one_wins(ctx: Ctx) -> None:
    tried = await asyncio.gather(
        *(_press(ctx, Press.GO) for _ in range(10)), return_exceptions=True
    )
    assert sum(one is None for one in tried) == 1
    assert sum(isinstance(one, Conflict) for one in tried) == 9


async def test_two_moves_in_one_transaction_and_a_change_beside_them(ctx: Ctx) -> None:
    async with ctx.db.begin() as tx:
        lamp = await _lamp(tx)
        lamp.work_owner = "me"
        for event in (Press.GO, Press.STOP):
            await move(tx, lamp, LIGHT, event, reason="twice", at=ctx.clock.now())
    async with ctx.db.begin() as tx:
        lamp = await _lamp(tx)
    assert (lamp.state, lamp.version, lamp.work_owner) == (Light.RED, 3, "me")
