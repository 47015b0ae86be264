"""The agent as a process: it joins, starts a worker, tells what it sees, and stops it."""

from __future__ import annotations

import httpx
import pytest

from kernel.wire.agent import NvmlState
from tests.support.agent_brain import AgentBrain, lease_of
from tests.support.agent_process import AgentProcess, workers
from tests.support.wait import until


@pytest.mark.feature("C1")
async def test_it_joins_and_tells_its_simulated_gpus_as_simulated(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.start()
    uuids = await brain.gpu_uuids(2)
    assert brain.beats[0].nvml is NvmlState.SIMULATED
    assert len(set(uuids)) == 2
    assert all(gpu.simulated for gpu in brain.beats[0].gpus)
    assert brain.enrolments[0].gpus == brain.beats[0].gpus


@pytest.mark.feature("C5")
async def test_a_lease_becomes_a_worker_that_answers(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.start()
    lease = lease_of(await brain.gpu_uuids(1))
    brain.want(lease)
    seen = await brain.shows(lease.lease_id, "ready")
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{seen.port}/v1/models")
    assert answer.json()["data"][0]["id"] == "demo"
    assert seen.gpu_uuids == lease.gpu_uuids
    assert brain.states(lease.lease_id)[-2:] == ["loading", "ready"]


@pytest.mark.feature("C5")
async def test_a_stop_ends_the_worker_and_is_proved(brain: AgentBrain, agent: AgentProcess) -> None:
    agent.start()
    lease = lease_of(await brain.gpu_uuids(1))
    brain.want(lease)
    await brain.shows(lease.lease_id, "ready")
    assert len(workers(agent.home)) == 1
    brain.ask_stop(lease.lease_id)
    await brain.shows(lease.lease_id, "gone")
    assert workers(agent.home) == []
    brain.drop(lease.lease_id)
    assert await until(lambda: not brain.beats[-1].leases)


async def test_the_workers_own_gauges_and_lines_reach_the_brain(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.start()
    lease = lease_of(await brain.gpu_uuids(1))
    brain.want(lease)
    await until(lambda: (seen := brain.seen(lease.lease_id)) and seen.metrics, 120)
    seen = brain.seen(lease.lease_id)
    assert seen is not None
    assert seen.metrics["vllm:num_requests_running"] == 0.0
    assert await until(lambda: brain.lines.get(lease.lease_id))
