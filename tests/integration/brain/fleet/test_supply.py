"""What is on offer: fresh, unheld, and not in doubt; and the guard over silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from brain import fleet
from brain.plumbing import Ctx
from brain.scheduling import Offer, PlanRequest, Shape, plan
from kernel.clock import ManualClock
from kernel.errors import NoCapacity
from kernel.wire import encode
from kernel.wire.agent import LeaseSeenState, NvmlState
from tests.support.fleet import Rig, Watched, brain_front, gpu


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
async def rig(
    ctx: Ctx, clock: ManualClock, valkey_url: str, watched: Watched
) -> AsyncIterator[Rig]:
    async with brain_front(ctx, clock, valkey_url, watched) as made:
        yield made


async def only(rig: Rig) -> Offer:
    found = await fleet.offers(rig.ctx)
    assert len(found) == 1
    return found[0]


@pytest.mark.feature("F1")
async def test_an_offer_tells_what_is_free_now(rig: Rig) -> None:
    agent = await rig.agent(count=4)
    await rig.claim(agent, 3)
    offer = await only(rig)
    assert (offer.free, offer.total, offer.vram_mib, offer.withheld) == (1, 4, 23034, "")
    assert offer.seen_ns == rig.clock.now_ns()


async def test_a_node_with_two_kinds_of_gpu_makes_two_offers(rig: Rig) -> None:
    await rig.agent(gpu("GPU-a"), gpu("GPU-b", "NVIDIA H100", 81559))
    found = await fleet.offers(rig.ctx)
    assert [(o.gpu_name, o.free) for o in found] == [("NVIDIA H100", 1), ("NVIDIA L4", 1)]


async def test_a_claim_takes_gpus_of_one_kind_with_enough_memory(rig: Rig) -> None:
    agent = await rig.agent(gpu("GPU-a"), gpu("GPU-b", "NVIDIA H100", 81559), gpu("GPU-c"))
    large = await rig.claim(agent, vram_mib=80_000)
    assert large.gpu_uuids == ("GPU-b",)
    assert (await rig.claim(agent, 2)).gpu_uuids == ("GPU-a", "GPU-c")


async def test_a_lost_gpu_is_not_offered(rig: Rig) -> None:
    agent = await rig.agent(count=2)
    agent.gpus[1].lost = True
    await agent.beat()
    offer = await only(rig)
    assert (offer.free, offer.total) == (1, 1)


async def test_a_gpu_that_others_use_is_neither_offered_nor_claimed(rig: Rig) -> None:
    agent = await rig.agent(count=2)
    agent.gpus[0].foreign_use = True
    await agent.beat()
    offer = await only(rig)
    assert (offer.free, offer.total, offer.withheld) == (1, 2, "")
    agent.gpus[1].foreign_use = True
    await agent.beat()
    assert (await only(rig)).withheld == "Its GPUs are used by work that is not ours."
    with pytest.raises(NoCapacity):
        await rig.claim(agent)
    agent.gpus[0].foreign_use = False
    await agent.beat()
    assert (await rig.claim(agent)).gpu_uuids == (agent.gpus[0].uuid,)


@pytest.mark.feature("C3")
async def test_a_gpu_that_is_not_healthy_is_neither_offered_nor_claimed(rig: Rig) -> None:
    agent = await rig.agent(count=2)
    agent.gpus[0].xids = {63: 1, 95: 1}
    await agent.beat()
    offer = await only(rig)
    assert (offer.free, offer.total, offer.withheld) == (1, 2, "")
    agent.gpus[1].rows_failed = True
    await agent.beat()
    assert (await only(rig)).withheld.startswith("Its GPUs are not healthy: ")
    with pytest.raises(NoCapacity):
        await rig.claim(agent)
    agent.gpus[0].xids = {63: 1}  # its driver was loaded anew; degraded is still sold
    await agent.beat()
    assert (await rig.claim(agent)).gpu_uuids == (agent.gpus[0].uuid,)


@pytest.mark.feature("C3")
async def test_a_lease_goes_on_when_its_gpu_is_found_unhealthy(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    agent.gpus[0].xids = {94: 1, 48: 1}
    await agent.beat(agent.seen(lease))
    await rig.reconcile()
    found = await rig.lease(lease.lease_id)
    assert (found.state, found.seen_state) == ("open", LeaseSeenState.READY)


async def test_simulated_gpus_are_told_as_simulated(rig: Rig) -> None:
    await rig.agent(gpu("SIM-1", "Simulated GPU", simulated=True))
    assert (await only(rig)).simulated


async def test_a_hung_driver_is_not_sold_on(rig: Rig) -> None:
    agent = await rig.agent()
    message = agent.message()
    message.nvml = NvmlState.HUNG
    await agent.send("/agent/v1/beat", encode(message))
    assert (await only(rig)).withheld == "Its GPU driver does not answer."


async def test_a_node_that_was_not_heard_for_25_s_is_not_chosen(rig: Rig) -> None:
    await rig.agent()
    wanted = PlanRequest(shapes=(Shape(1, 16_000),))
    await rig.pass_time(25)
    assert plan(wanted, await fleet.offers(rig.ctx), rig.clock.now_ns()).chosen
    await rig.pass_time(1)
    found = plan(wanted, await fleet.offers(rig.ctx), rig.clock.now_ns())
    assert found.candidates[0].reasons == ("It was last heard 26 s ago; 25 s is the most.",)


@pytest.mark.feature("F1")
async def test_a_brain_that_was_away_lets_its_nodes_speak_before_it_looks_elsewhere(
    rig: Rig,
) -> None:
    """Else each restart rents machines while the nodes that are there stand idle."""
    await rig.agent()
    wanted = PlanRequest(shapes=(Shape(1, 16_000),))
    rig.clock.advance(3600)
    assert plan(wanted, await fleet.offers(rig.ctx), rig.clock.now_ns()).chosen, "nobody hears"
    await rig.front.flush()
    await rig.pass_time(25)
    assert plan(wanted, await fleet.offers(rig.ctx), rig.clock.now_ns()).chosen
    await rig.pass_time(1)
    assert not plan(wanted, await fleet.offers(rig.ctx), rig.clock.now_ns()).chosen


async def test_a_node_that_fell_silent_before_the_brain_went_is_not_waited_for(rig: Rig) -> None:
    await rig.agent()
    others = [await rig.agent() for _ in range(3)]
    await rig.pass_time(40, *others)
    await rig.reconcile()
    rig.clock.advance(3600)
    await rig.front.flush()
    assert [o.withheld for o in await fleet.offers(rig.ctx)].count("It fell silent.") == 1


async def test_one_gpu_named_by_two_nodes_is_sold_by_neither(rig: Rig) -> None:
    first = await rig.agent(gpu("GPU-same"))
    second = await rig.agent(gpu("GPU-same"))
    reasons = {offer.withheld for offer in await fleet.offers(rig.ctx)}
    assert len(reasons) == 1
    assert "named by another node" in reasons.pop()
    for agent in (first, second):
        with pytest.raises(NoCapacity):
            await rig.claim(agent)


async def test_quarantine_ends_when_one_of_the_two_is_gone_for_a_minute(rig: Rig) -> None:
    await rig.agent(gpu("GPU-same"))
    second = await rig.agent(gpu("GPU-same"))
    await rig.pass_time(70, second)
    await rig.reconcile()
    withheld = {o.node_id: o.withheld for o in await fleet.offers(rig.ctx)}
    assert withheld[second.node_id] == ""


async def test_a_gpu_held_through_another_node_is_not_free(rig: Rig) -> None:
    old = await rig.agent(gpu("GPU-moved"))
    await rig.running(old)
    rig.clock.advance(61)
    await rig.front.flush()
    again = await rig.agent(gpu("GPU-moved"))
    offers = {offer.node_id: offer for offer in await fleet.offers(rig.ctx)}
    assert offers[again.node_id].free == 0


@pytest.mark.feature("C5")
async def test_a_silent_node_is_marked_within_25_s_and_its_replicas_are_told(
    rig: Rig, watched: Watched
) -> None:
    agents = [await rig.agent() for _ in range(3)]
    lease = await rig.running(agents[0])
    watched.replicas.clear()
    await rig.pass_time(24, *agents[1:])
    assert (await rig.reconcile()).silent == (agents[0].node_id,)
    assert watched.replicas == [lease.replica_id]
    assert (await rig.lease(lease.lease_id)).silent
    assert not (await rig.lease(lease.lease_id)).closed


async def test_a_node_that_comes_back_is_let_in_again(rig: Rig) -> None:
    agents = [await rig.agent() for _ in range(3)]
    lease = await rig.running(agents[0])
    await rig.pass_time(24, *agents[1:])
    await rig.reconcile()
    await rig.pass_time(1, *agents)
    assert (await rig.reconcile()).heard == (agents[0].node_id,)
    assert not (await rig.lease(lease.lease_id)).silent


@pytest.mark.feature("F4")
async def test_half_the_fleet_gone_at_once_freezes_evictions(rig: Rig) -> None:
    agents = [await rig.agent() for _ in range(10)]
    lease = await rig.running(agents[0])
    await rig.pass_time(30, *agents[5:])
    step = await rig.reconcile()
    assert step.frozen == "5 of 10 nodes fell silent together; nobody is evicted"
    assert not (await rig.lease(lease.lease_id)).silent


@pytest.mark.feature("F4")
async def test_the_only_node_is_never_evicted_but_its_lease_runs_out(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    await rig.pass_time(30)
    assert (await rig.reconcile()).frozen
    await rig.pass_time(600)
    assert (await rig.reconcile()).lost == 1
    assert (await rig.lease(lease.lease_id)).closed


async def test_reconciling_five_times_at_once_is_reconciling_once(rig: Rig) -> None:
    agents = [await rig.agent() for _ in range(3)]
    lease = await rig.running(agents[0])
    await rig.pass_time(611, *agents[1:])
    steps = await asyncio.gather(*(rig.reconcile() for _ in range(5)))
    assert sum(step.lost for step in steps) == 1
    assert (await rig.lease(lease.lease_id)).closed
