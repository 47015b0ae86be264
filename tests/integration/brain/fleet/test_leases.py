"""What becomes of leases: epochs, evidence, time running out, hosts booting anew, restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from brain import fleet
from brain.fleet import Outcome, nodes
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.errors import NoCapacity
from kernel.wire import encode
from kernel.wire.agent import DesiredState, LeaseSeen, LeaseSeenState
from tests.support.fleet import Rig, Watched, brain_front


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
async def rig(
    ctx: Ctx, clock: ManualClock, valkey_url: str, watched: Watched
) -> AsyncIterator[Rig]:
    async with brain_front(ctx, clock, valkey_url, watched) as made:
        yield made


async def free(rig: Rig) -> list[int]:
    return [offer.free for offer in await fleet.offers(rig.ctx)]


@pytest.mark.feature("F3")
async def test_a_gpu_that_is_held_cannot_be_claimed(rig: Rig) -> None:
    agent = await rig.agent(count=2)
    await rig.claim(agent, 2)
    with pytest.raises(NoCapacity):
        await rig.claim(agent)


async def test_epochs_and_generations_only_rise(rig: Rig) -> None:
    agent = await rig.agent(count=3)
    leases = [await rig.claim(agent) for _ in range(3)]
    assert [lease.epoch for lease in leases] == [1, 2, 3]
    generations = [(await agent.beat()).generation]
    for lease in leases:
        await rig.stop_lease(lease.lease_id)
        generations.append((await agent.beat()).generation)
    assert generations == sorted(set(generations))


async def test_a_report_with_an_old_epoch_is_ignored(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    await agent.beat(LeaseSeen(str(lease.lease_id), lease.epoch - 1, LeaseSeenState.FAILED))
    found = await rig.lease(lease.lease_id)
    assert (found.state, found.seen_state) == ("open", LeaseSeenState.READY)


async def test_a_report_of_another_nodes_lease_is_ignored(rig: Rig) -> None:
    agent, liar = await rig.agent(), await rig.agent()
    lease = await rig.running(agent)
    await liar.beat(agent.seen(lease, LeaseSeenState.FAILED, reason="lies"))
    assert (await rig.lease(lease.lease_id)).state == "open"


async def test_a_failed_worker_ends_its_lease_with_the_agents_reason(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    await agent.beat(agent.seen(lease, LeaseSeenState.FAILED, reason="out of memory\x00"))
    assert (await rig.lease(lease.lease_id)).reason == "out of memory"
    await agent.beat(agent.seen(lease, LeaseSeenState.GONE))
    found = await rig.lease(lease.lease_id)
    assert (found.closed, found.outcome) == (True, Outcome.FAILED)
    assert await free(rig) == [1]


@pytest.mark.feature("C5")
async def test_gpus_of_a_silent_node_are_free_after_ttl_and_grace_only(rig: Rig) -> None:
    agent, other = await rig.agent(), await rig.agent()
    lease = await rig.running(agent)
    await rig.pass_time(609, other)
    assert (await rig.reconcile()).lost == 0
    await rig.pass_time(2, other)
    assert (await rig.reconcile()).lost == 1
    found = await rig.lease(lease.lease_id)
    assert (found.closed, found.outcome) == (True, Outcome.LOST)


@pytest.mark.feature("C5")
async def test_a_lease_that_was_told_late_runs_out_late(rig: Rig) -> None:
    """The agent holds it for its ttl from when it was told, so no earlier is it lost."""
    agent, other = await rig.agent(), await rig.agent()
    lease = await rig.claim(agent)
    await rig.pass_time(600, other)
    await agent.beat()
    assert agent.told is not None
    assert agent.told.desired is not None
    await rig.pass_time(609, other)
    assert (await rig.reconcile()).lost == 0
    await rig.pass_time(2, other)
    assert (await rig.reconcile()).lost == 1
    assert (await rig.lease(lease.lease_id)).outcome == Outcome.LOST


@pytest.mark.feature("C5")
@pytest.mark.parametrize("told", [False, True], ids=["handed out now", "renewed now"])
async def test_a_renewal_after_the_leases_time_is_written_before_it_is_promised(
    rig: Rig, told: bool
) -> None:
    """A tick that runs between the answer and the next write must not call it lost."""
    agent, other = await rig.agent(), await rig.agent()
    lease = await (rig.running(agent) if told else rig.claim(agent))
    await rig.pass_time(611, other)
    await (agent.beat(agent.seen(lease)) if told else agent.beat())
    assert agent.told is not None
    assert agent.told.renewed == [lease.lease_id]
    assert (await rig.reconcile()).lost == 0
    assert (await rig.lease(lease.lease_id)).state == "open"


@pytest.mark.feature("C5", "G1")
async def test_work_that_is_found_gone_after_a_silence_is_billed_to_its_beginning(
    rig: Rig,
) -> None:
    agent, other = await rig.agent(), await rig.agent()
    lease = await rig.running(agent)
    await rig.pass_time(20, agent, other)
    last_ns = rig.clock.now_ns()
    await rig.pass_time(40, other)
    await agent.beat(agent.seen(lease, LeaseSeenState.STOPPING))  # by itself
    await rig.pass_time(1, agent, other)
    await agent.beat(agent.seen(lease, LeaseSeenState.GONE))
    assert (await rig.lease(lease.lease_id)).outcome == Outcome.RELEASED
    async with rig.ctx.db.begin() as tx:
        query = text("SELECT evidence_ns, closed_ns FROM meter_lease")
        billed = (await tx.execute(query)).one()
    assert (billed.evidence_ns, billed.closed_ns) == (last_ns, rig.clock.now_ns())


@pytest.mark.feature("C5")
async def test_a_lease_that_was_lost_a_moment_ago_is_not_handed_out(rig: Rig) -> None:
    agent, other = await rig.agent(), await rig.agent()
    lease = await rig.running(agent)
    await rig.pass_time(611, other)
    desk = rig.front.desks[agent.node_id]
    assert (await fleet.reconcile_leases(rig.ctx)).lost == 1  # this process did not look since
    assert lease.lease_id in desk.leases
    await agent.beat(agent.seen(lease))
    assert agent.told is not None
    assert agent.told.renewed == []
    assert agent.told.desired is not None
    assert agent.told.desired.leases == []


@pytest.mark.feature("C5")
async def test_a_brain_that_did_not_look_hands_out_nothing_that_is_over(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.claim(agent)  # this process has it in memory
    async with rig.ctx.db.begin() as tx:
        await fleet.stop_lease(tx, lease.lease_id, "asked to", now_ns=rig.clock.now_ns())
    await agent.beat()
    assert agent.told is not None
    assert agent.told.desired is not None
    assert [one.state for one in agent.told.desired.leases] != [DesiredState.RUN]


@pytest.mark.feature("C5")
async def test_a_lease_that_is_renewed_never_runs_out(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    await rig.pass_time(1300, agent)
    assert (await rig.reconcile()).lost == 0
    assert (await rig.lease(lease.lease_id)).state == "open"


async def test_a_new_boot_of_the_host_holds_no_lease(rig: Rig, watched: Watched) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    watched.replicas.clear()
    await agent.restart(boot_id="boot-2")
    found = await rig.lease(lease.lease_id)
    assert (found.closed, found.outcome) == (True, Outcome.LOST)
    assert found.reason == "the node's host booted anew"
    assert watched.replicas == [lease.replica_id]
    assert await free(rig) == [1]


@pytest.mark.feature("C4")
async def test_a_new_agent_on_the_same_boot_keeps_its_leases(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    await agent.restart()
    told = await agent.beat(agent.seen(lease))
    assert told.renewed == [lease.lease_id]
    assert told.desired is not None
    assert (await rig.lease(lease.lease_id)).state == "open"


@pytest.mark.feature("F4")
async def test_a_brain_restart_evicts_nothing(
    rig: Rig, ctx: Ctx, clock: ManualClock, valkey_url: str
) -> None:
    agent, other = await rig.agent(), await rig.agent()
    lease = await rig.running(agent)
    clock.advance(2000)  # nobody received
    async with brain_front(ctx, clock, valkey_url) as restarted:
        step = await restarted.reconcile()
        assert (step.silent, step.lost) == ((), 0)
        assert (await rig.lease(lease.lease_id)).state == "open"
        await restarted.pass_time(605, other)
        assert (await restarted.reconcile()).lost == 0


@pytest.mark.feature("F4")
async def test_a_database_that_stalls_evicts_nothing(rig: Rig, clock: ManualClock) -> None:
    agents = [await rig.agent() for _ in range(5)]
    leases = [await rig.running(agent) for agent in agents]
    clock.advance(60)  # nothing could be written
    await rig.front.flush()
    step = await rig.reconcile()
    assert (step.silent, step.lost, step.frozen) == ((), 0, "")
    assert {(await rig.lease(lease.lease_id)).state for lease in leases} == {"open"}


async def test_a_renewal_that_cannot_be_written_is_not_promised(
    rig: Rig, clock: ManualClock
) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    clock.advance(6)
    assert (await agent.beat(agent.seen(lease))).renewed == []
    await rig.front.flush()
    assert (await agent.beat(agent.seen(lease))).renewed == [lease.lease_id]


async def test_a_lease_that_its_agent_no_longer_reports_is_ended(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    assert (await agent.beat()).renewed == []
    await rig.pass_time(31, agent)
    found = await rig.lease(lease.lease_id)
    assert (found.state, found.reason) == ("stopping", "its node does not report it any more")


async def test_a_lease_that_the_agent_has_not_heard_of_is_not_missing(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.claim(agent)
    agent.generation = 0
    assert (await agent.beat()).renewed == [lease.lease_id]


@pytest.mark.feature("C5")
async def test_a_lease_that_stops_for_ever_is_lost(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent, ttl_seconds=60)
    await rig.stop_lease(lease.lease_id)
    await agent.beat(agent.seen(lease, LeaseSeenState.STOPPING))
    await rig.pass_time(360 + 65, agent)  # its longest drain, its ttl, and not yet the grace
    assert (await rig.reconcile()).lost == 0
    assert await free(rig) == [0]
    await rig.pass_time(15, agent)
    assert (await rig.reconcile()).lost == 1
    assert (await rig.lease(lease.lease_id)).outcome is Outcome.LOST


async def test_gone_twice_closes_once(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    await rig.stop_lease(lease.lease_id)
    await agent.beat(agent.seen(lease, LeaseSeenState.GONE))
    first = await rig.lease(lease.lease_id)
    await agent.beat(agent.seen(lease, LeaseSeenState.GONE))
    assert await rig.lease(lease.lease_id) == first


@pytest.mark.feature("C2")
async def test_a_revoked_node_is_refused_and_its_leases_end(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    assert await nodes.revoke(rig.ctx, rig.front.watcher, agent.node_id, rig.account) == 1
    await rig.front.look()
    beat = await agent.send("/agent/v1/beat", encode(agent.message()))
    session = await agent.send_session(agent.session_request())
    for answer in (beat, session):
        assert (answer.status_code, answer.json()["code"]) == (403, "node_revoked")
    ended = await rig.lease(lease.lease_id)
    assert (ended.closed, ended.outcome) == (True, Outcome.LOST)
    assert await fleet.offers(rig.ctx) == []


async def test_held_gpus_that_contradict_their_lease_are_told(rig: Rig) -> None:
    agent = await rig.agent(count=2)
    lease = await rig.running(agent, 2)
    assert (await rig.reconcile()).wrong == ()
    async with rig.ctx.db.begin() as tx:
        await tx.execute(text("UPDATE lease_gpu SET live = false WHERE position = 0"))
    found = (await rig.reconcile()).wrong
    assert found == (f"{lease.lease_id} is open for 2 GPUs and holds 1",)
