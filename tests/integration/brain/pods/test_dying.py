"""The workers die at transactions all over a pod's life, and another takes over: nothing is left.

Each mode of death begins elsewhere, so that together they meet each third of the transactions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text

from brain import billing
from brain.deployments.reconcile import HOLD_SECONDS
from kernel.ids import PodId
from tests.support.mortal import Died, MortalDb, When, mortal
from tests.support.pods import Yard, data, unclosed_leases

pytestmark = pytest.mark.feature("E1", "E2")
Tick = Callable[[], Awaitable[None]]
STRIDE, STRIDE_LONG = 48, 12


def dying(yard: Yard, at: int, when: When) -> tuple[Tick, MortalDb]:
    """Ticks of a process that dies; once it is dead another one, which waits for its rows."""
    ctx, db = mortal(yard.ctx, at, when)

    async def tick() -> None:
        if not db.dead:
            try:
                await yard.tick(ctx, owner="mortal")
                return
            except Died:
                await yard.rig.pass_time(HOLD_SECONDS + 1, *yard.rig.agents)
        await yard.tick()

    return tick, db


async def until_state(yard: Yard, tick: Tick, made: PodId, wanted: str) -> None:
    for _ in range(14):
        await tick()
        await yard.obey()
        await tick()
        if await yard.state(made) == wanted:
            return
        await yard.pass_time(3)
    raise AssertionError(f"never {wanted}: {await yard.state(made)}")


async def life(yard: Yard, tick: Tick, number: int) -> None:
    """One pod with a volume from its creation to the end of both."""
    made = await yard.create(mounts=[data(name=f"data-{number}")])
    await until_state(yard, tick, made, "running")
    volume = await yard.only_volume(made)
    await yard.pass_time(100)
    await yard.stop(made)
    await until_state(yard, tick, made, "stopped")
    await yard.start(made)
    await until_state(yard, tick, made, "running")
    await yard.terminate(made, delete_volumes=True)
    await until_state(yard, tick, made, "terminated")
    for _ in range(4):
        await tick()
        await yard.obey()
    assert (await yard.volume(volume.volume_id)).state == "gone"
    assert [agent.volumes for agent in yard.rig.agents] == [{}]
    assert await unclosed_leases(yard.ctx) == 0


async def bills(yard: Yard) -> tuple[int, int]:
    """Stretches billed, and how many of them begin where another one does."""
    async with yard.ctx.db.begin() as tx:
        row = (
            await tx.execute(
                text(
                    "SELECT count(*) AS n, count(*) - count(DISTINCT (volume_id, from_ns)) AS twice"
                    " FROM storage_bill"
                )
            )
        ).one()
    return row.n, row.twice


@pytest.mark.slow
@pytest.mark.parametrize("when", list(When))
@pytest.mark.parametrize("stride", [STRIDE, pytest.param(STRIDE_LONG, marks=pytest.mark.long)])
async def test_it_dies_all_over_a_life_and_nothing_is_left(
    yard: Yard, when: When, stride: int, seed: int
) -> None:
    node = await yard.node()
    at, lives = 1 + seed % stride, 0
    while True:
        await node.open_session()
        tick, db = dying(yard, at, when)
        await life(yard, tick, at)
        at, lives = at + stride, lives + 1
        if not db.dead:
            break
    assert lives > 40 // stride, "a life has more transactions than this"
    await billing.settle_due(yard.ctx)
    count, twice = await bills(yard)
    assert (count >= lives, twice) == (True, 0)
    await yard.prove()
