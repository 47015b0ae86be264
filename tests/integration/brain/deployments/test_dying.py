"""The reconciler dies at each of its transactions, and another takes over; ticks come twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text

from brain import deployments
from brain.deployments.reconcile import HOLD_SECONDS
from kernel.ids import DeploymentId
from tests.support.deployments import House
from tests.support.fleet import VAULT
from tests.support.mortal import Died, MortalDb, When, mortal

Tick = Callable[[], Awaitable[object]]
STRIDE = 4  # of the transactions it dies at, in the suite


async def life(house: House, tick: Tick, name: str) -> DeploymentId:
    """One deployment from the ask to the stop, with ``tick`` for the worker's tick."""
    made = await house.deploy(name=name)
    await until_state(house, tick, made, "running")
    await house.stop(made)
    await until_state(house, tick, made, "stopped")
    return made


async def until_state(house: House, tick: Tick, made: DeploymentId, wanted: str) -> None:
    for _ in range(12):
        await tick()
        await house.obey()
        await tick()
        if await house.state(made) == wanted:
            return
        await house.rig.pass_time(3, *house.rig.agents)
    raise AssertionError(f"never {wanted}: {await house.state(made)}")


async def leases_of(house: House, made: DeploymentId) -> list[str]:
    async with house.ctx.db.begin() as tx:
        rows = await tx.execute(
            text("SELECT state FROM lease WHERE deployment_id = :made"), {"made": str(made)}
        )
        return [row.state for row in rows]


def dying(house: House, at: int, when: When) -> tuple[Tick, MortalDb]:
    """Ticks of a process that dies; once it is dead another one, which waits for its rows."""
    ctx, db = mortal(house.ctx, at, when)

    async def tick() -> None:
        if not db.dead:
            try:
                await deployments.reconcile_due(ctx, house.catalog, VAULT, owner="mortal")
                return
            except Died:
                await house.rig.pass_time(HOLD_SECONDS + 1, *house.rig.agents)
        await house.tick()

    return tick, db


@pytest.mark.slow
@pytest.mark.parametrize("when", list(When))
@pytest.mark.parametrize("stride", [STRIDE, pytest.param(1, marks=pytest.mark.long)])
async def test_it_dies_at_each_transaction_and_nothing_is_lost(
    house: House, when: When, stride: int, seed: int
) -> None:
    """Which ones of them is drawn anew in each run; all of them with `make test-long`."""
    await house.node()
    at = -(seed % stride)
    while True:
        at += stride
        tick, db = dying(house, at, when)
        made = await life(house, tick, f"life-{at}")
        assert await leases_of(house, made) == ["closed"], f"died {when} transaction {at}"
        if not db.dead:
            break
    assert at > 10, "the life has more transactions than this"


async def test_ticks_that_come_twice_at_once_do_nothing_twice(house: House) -> None:
    await house.node()

    async def twice() -> None:
        await asyncio.gather(*(house.tick() for _ in range(3)))

    for number in range(3):
        made = await life(house, twice, f"life-{number}")
        assert await leases_of(house, made) == ["closed"]
        assert len(await house.replicas(made)) == 1
