"""What breaks: workers, nodes, places. Something else goes on, and the reasons stay readable."""

from __future__ import annotations

import msgspec
import pytest

from brain.deployments.core import CRASHES_MAX
from brain.deployments.store import placement
from kernel.ids import DeploymentId
from kernel.money import Money
from kernel.wire.agent import LeaseSeenState
from tests.support.deployments import House


async def states(house: House, made: DeploymentId) -> list[str]:
    return sorted(replica.state for replica in await house.replicas(made))


@pytest.mark.feature("D3")
async def test_a_crashed_worker_is_replaced(house: House) -> None:
    await house.node()
    made = await house.ready()
    await house.obey(state=LeaseSeenState.FAILED)
    await house.settle(rounds=5)
    assert await states(house, made) == ["failed", "ready"]
    assert await house.state(made) == "running"


async def test_the_replacement_avoids_the_node_where_it_failed(house: House) -> None:
    await house.node()
    made = await house.ready()
    await house.node()
    [first] = await house.replicas(made)
    await house.obey(state=LeaseSeenState.FAILED)
    await house.settle(rounds=5)
    second = next(r for r in await house.replicas(made) if r.state == "ready")
    assert second.node_id != first.node_id


async def test_a_node_whose_agent_stopped_with_its_work_is_not_avoided(house: House) -> None:
    """The worker did nothing wrong: when the node is back, it is as good as before."""
    await house.node()
    made = await house.ready()
    await house.node()
    await house.obey(state=LeaseSeenState.GONE)
    await house.settle(rounds=5)
    assert await states(house, made) == ["failed", "ready"]
    async with house.ctx.db.begin() as tx:
        plan = await placement(tx, made)
    assert plan is not None
    assert not [c for c in plan.candidates if any("failed there" in r for r in c["reasons"])]


@pytest.mark.feature("D3")
async def test_a_crash_loop_opens_the_breaker_and_frees_everything(house: House) -> None:
    await house.node()
    made = await house.deploy()
    for _ in range(40):
        await house.tick()
        await house.obey(state=LeaseSeenState.FAILED)
        await house.tick()
        await house.obey()
        await house.rig.pass_time(5, *house.rig.agents)
        if await house.state(made) == "failed":
            break
    await house.settle(rounds=1)
    found = await house.look(made)
    assert await states(house, made) == ["failed"] * CRASHES_MAX
    assert found.deployment.broken_reason == (
        "5 starts of its workers failed within 10 minutes: the agent reports that it failed"
    )
    await house.scale(made, 1)  # a fresh ask is a fresh try
    await house.rig.pass_time(601, *house.rig.agents)
    await house.settle(rounds=3)
    assert await house.state(made) == "running"


@pytest.mark.feature("D3")
async def test_a_lost_node_is_replaced_before_its_lease_runs_out(house: House) -> None:
    await house.node()
    made = await house.ready()
    other = await house.node()
    await house.rig.pass_time(24, other)
    await house.tick()
    await house.obey(other)
    await house.tick()
    assert await states(house, made) == ["failed", "ready"]
    ready = next(r for r in await house.replicas(made) if r.state == "ready")
    assert ready.node_id == other.node_id


async def test_a_worker_that_never_gets_ready_is_given_up(house: House) -> None:
    await house.node()
    made = await house.deploy()
    await house.tick()
    await house.obey(state=LeaseSeenState.LOADING)
    await house.tick()
    await house.rig.pass_time(61, *house.rig.agents)  # the stand-in's longest start is 60 s
    await house.tick()
    first = (await house.replicas(made))[0]
    assert first.state == "stopping"
    assert first.state_reason == "the worker was not ready within 60 s"


@pytest.mark.feature("D4")
async def test_why_names_each_candidate_with_its_reasons(house: House) -> None:
    await house.node()
    await house.ready(name="first")
    made = await house.deploy(name="second")
    await house.tick()
    async with house.ctx.db.begin() as tx:
        kept = await placement(tx, made)
    assert kept is not None
    assert kept.candidate_count == 1
    assert kept.candidates[0]["reasons"] == ["0 of 1 GPUs are free; 1 needed."]
    assert kept.outcome.startswith("None of 1 offers fits")


@pytest.mark.feature("D4")
async def test_a_price_that_nobody_asks_is_said(house: House) -> None:
    await house.node()
    made = await house.deploy(price_max=Money(1))
    await house.tick()
    async with house.ctx.db.begin() as tx:
        kept = await placement(tx, made)
    assert kept is not None
    [candidate] = kept.candidates
    assert not candidate["ok"]
    assert "$" in candidate["reasons"][0]


async def test_a_real_model_is_not_put_on_a_simulated_gpu(house: House) -> None:
    await house.node()
    made = await house.deploy(model="Qwen/Qwen2.5-0.5B-Instruct")
    await house.tick()
    assert await house.state(made) == "waiting"


async def test_scaling_down_drains_only_the_surplus(house: House) -> None:
    await house.node(gpus=3)
    made = await house.ready(replicas=3)
    await house.scale(made, 1)
    await house.settle(rounds=3)
    assert await states(house, made) == ["ready", "stopped", "stopped"]
    await house.scale(made, 0)
    await house.settle(rounds=3)
    assert await house.state(made) == "asleep"


async def restart(house: House, times: int, seconds: float) -> None:
    """The agent starts the only worker anew, again and again, so long after each other."""
    (agent,) = house.rig.agents
    (before,) = agent.last_seen
    for number in range(1, times + 1):
        for state in (LeaseSeenState.LOADING, LeaseSeenState.READY):
            seen = msgspec.structs.replace(before, state=state, restarts=number)
            await agent.beat(seen)
            await house.tick()
        await house.rig.pass_time(seconds, agent)


async def test_restarts_over_hours_are_no_crash_loop(house: House) -> None:
    await house.node()
    made = await house.ready()
    await restart(house, times=CRASHES_MAX + 2, seconds=200)
    assert await states(house, made) == ["ready"]


async def test_five_restarts_within_ten_minutes_are_a_crash_loop(house: House) -> None:
    await house.node()
    made = await house.ready()
    await restart(house, times=CRASHES_MAX, seconds=10)
    assert await states(house, made) == ["stopping"]
    assert (await house.look(made)).deployment.broken_reason
