"""Replicas that wait at the same time are placed together: none takes another's only place."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from kernel.money import NANO
from tests.support.deployments import House
from tests.support.fleet import Agent, gpu

LARGE = 60_000


async def price(house: House, agent: Agent, nano: int) -> None:
    async with house.ctx.db.begin() as tx:
        statement = text("UPDATE node SET price_nano = :nano WHERE node_id = :node")
        await tx.execute(statement, {"nano": nano, "node": agent.node_id})


@pytest.mark.feature("F1")
async def test_a_small_one_leaves_the_large_gpu_to_who_needs_it(house: House) -> None:
    """The large GPU is the cheaper one, and the small deployment is the older."""
    small = await house.rig.agent(gpu("GPU-small", simulated=True))
    large = await house.rig.agent(gpu("GPU-large", name="Large", memory_mib=LARGE, simulated=True))
    await price(house, small, 2 * NANO)
    await price(house, large, NANO)
    first = await house.deploy(name="small")
    second = await house.deploy(name="large", gpu="Large")
    await house.tick()
    placed = [(await house.replicas(made))[0].node_id for made in (first, second)]
    assert placed == [small.node_id, large.node_id]


@pytest.mark.feature("F1")
async def test_replicas_of_one_deployment_take_different_gpus_at_once(house: House) -> None:
    for _ in range(3):
        await house.node()
    made = await house.deploy(replicas=3)
    await house.tick()
    replicas = await house.replicas(made)
    assert {r.state for r in replicas} == {"claimed"}
    assert {r.attempts for r in replicas} == {1}, "none was refused a place first"
