"""A node from enrolment to a lease that ends, over the real routes and a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.wire.agent import DesiredState, LeaseSeenState
from tests.support.fleet import Rig, brain_front


@pytest.fixture
async def rig(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Rig]:
    async with brain_front(ctx, clock, valkey_url) as made:
        yield made


@pytest.mark.feature("C5")
async def test_a_claim_reaches_the_agent_as_its_whole_desired_set(rig: Rig) -> None:
    agent = await rig.agent(count=2)
    lease = await rig.claim(agent, 2)
    told = await agent.beat()
    assert told.desired is not None
    wanted = told.desired.leases[0]
    assert (wanted.lease_id, wanted.epoch, wanted.state) == (lease.lease_id, 1, DesiredState.RUN)
    assert wanted.gpu_uuids == ["GPU-0-0", "GPU-0-1"]
    assert told.renewed == [lease.lease_id]


async def test_a_beat_with_the_newest_generation_is_answered_without_the_set(rig: Rig) -> None:
    agent = await rig.agent()
    await rig.claim(agent)
    assert (await agent.beat()).desired is not None
    assert (await agent.beat()).desired is None


@pytest.mark.feature("C5")
async def test_stopping_frees_the_gpus_only_by_evidence(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    await rig.stop_lease(lease.lease_id)
    told = await agent.beat(agent.seen(lease, LeaseSeenState.STOPPING))
    assert told.desired is not None
    assert told.desired.leases[0].state is DesiredState.STOP
    assert not (await rig.lease(lease.lease_id)).closed
    told = await agent.beat(agent.seen(lease, LeaseSeenState.GONE))
    assert (await rig.lease(lease.lease_id)).closed
    assert told.desired is not None
    assert told.desired.leases == []
