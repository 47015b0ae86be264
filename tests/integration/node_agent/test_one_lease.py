"""The agent of a rented machine: it ends with its lease, and when nobody speaks to it."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from tests.support.agent_brain import AgentBrain, lease_of
from tests.support.agent_process import AgentProcess, workers


async def ended(agent: AgentProcess, seconds: float = 30) -> int:
    process: subprocess.Popen[bytes] | None = agent.process
    assert process is not None
    return await asyncio.to_thread(process.wait, seconds)


@pytest.fixture
def agent(agent: AgentProcess) -> AgentProcess:
    agent.environment |= {"AGENT_ONE_LEASE": "1", "AGENT_STOP_WORK_ON_EXIT": "1"}
    return agent


@pytest.mark.feature("B7")
async def test_it_ends_when_its_lease_is_over(brain: AgentBrain, agent: AgentProcess) -> None:
    agent.start()
    lease = lease_of(await brain.gpu_uuids(1))
    brain.want(lease)
    await brain.shows(lease.lease_id, "ready")
    brain.ask_stop(lease.lease_id)
    await brain.shows(lease.lease_id, "gone")
    brain.drop(lease.lease_id)
    assert await ended(agent) == 0
    assert workers(agent.home) == []


@pytest.mark.feature("B7")
async def test_without_the_brain_it_stops_its_work_and_ends(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.environment["AGENT_AWAY_SECONDS_MAX"] = "4"
    agent.start()
    lease = lease_of(await brain.gpu_uuids(1))
    brain.want(lease)
    await brain.shows(lease.lease_id, "ready")
    brain.away = True
    assert await ended(agent, 60) == 0
    assert workers(agent.home) == []
