"""A deployment from the ask to the stop, over the real database and the agents' real protocol."""

from __future__ import annotations

import pytest

from brain.deployments import replica_row
from kernel.wire.agent import LeaseSeenState
from kernel.wire.gateway import REVERSE, ReplicaState
from tests.support.deployments import House


@pytest.mark.feature("D3")
async def test_a_deployment_becomes_ready_on_a_node(house: House) -> None:
    await house.node()
    made = await house.deploy()
    await house.tick()
    assert await house.state(made) == "starting"
    await house.obey(state=LeaseSeenState.LOADING)
    await house.tick()
    [replica] = await house.replicas(made)
    assert replica.state == "loading"
    await house.obey()
    await house.tick()
    assert await house.state(made) == "running"


async def test_gateways_are_told_of_a_ready_replica_and_of_links_to_it(house: House) -> None:
    await house.node()
    made = await house.ready()
    [replica] = await house.replicas(made)
    async with house.ctx.db.begin() as tx:
        told = await replica_row(tx, replica.replica_id)
    assert told is not None
    assert (told.state, told.link.kind, told.lease_id) == (
        ReplicaState.READY,
        REVERSE,
        replica.lease_id,
    )
    assert told.upstream_model == "ganglion/stand-in"


@pytest.mark.feature("D3")
async def test_a_stop_drains_then_frees_the_gpus_by_evidence(house: House) -> None:
    await house.node()
    made = await house.ready()
    await house.stop(made)
    await house.settle()
    [replica] = await house.replicas(made)
    assert (replica.state, await house.state(made)) == ("stopped", "stopped")
    assert (await house.lease(replica)).closed


@pytest.mark.feature("D4")
async def test_it_waits_with_the_reason_until_a_node_comes(house: House) -> None:
    made = await house.deploy()
    await house.tick()
    [replica] = await house.replicas(made)
    assert await house.state(made) == "waiting"
    assert replica.waiting_reason == "No node is enrolled."
    await house.node()
    await house.settle(rounds=2)
    assert await house.state(made) == "running"
