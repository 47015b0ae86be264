"""The agent through cuts, restarts and kills: work goes on while its lease lasts, never longer."""

from __future__ import annotations

import signal
import time

import psutil
import pytest

from brain.fleet.core import GRACE_NS
from kernel.clock import NS
from tests.support.agent_brain import AgentBrain, lease_of
from tests.support.agent_process import AgentProcess, workers
from tests.support.wait import until

pytestmark = pytest.mark.feature("C5")
TTL = 6  # a beat renews it each second, and may be late


async def ready_worker(
    brain: AgentBrain, agent: AgentProcess, *, ttl_seconds: int = 60
) -> tuple[str, psutil.Process]:
    """The id of a lease whose worker is ready, and the worker."""
    agent.start()
    lease = lease_of(await brain.gpu_uuids(1), ttl_seconds=ttl_seconds)
    brain.want(lease)
    await brain.shows(lease.lease_id, "ready")
    (worker,) = workers(agent.home)
    return lease.lease_id, worker


async def test_work_ends_with_its_lease_when_the_brain_is_gone(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    _, worker = await ready_worker(brain, agent, ttl_seconds=TTL)
    await brain.stop()
    last_renewal = time.monotonic()
    await until(lambda: workers(agent.home) == [])
    assert time.monotonic() - last_renewal < TTL + GRACE_NS / NS  # then the GPUs are sold again
    await until(lambda: not worker.is_running())
    await brain.start()


async def test_work_outlives_a_brain_that_is_away_for_less(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    lease_id, worker = await ready_worker(brain, agent)
    brain.away = True
    beats = len(brain.beats)
    await until(lambda: "beat_failed" in agent.printed())
    brain.away = False
    await until(lambda: len(brain.beats) > beats)
    assert worker.is_running()
    assert "stopping" not in brain.states(lease_id)


async def test_a_lease_that_is_not_renewed_ends_though_the_brain_answers(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    lease_id, _ = await ready_worker(brain, agent, ttl_seconds=TTL)
    brain.renewing = False
    line = await brain.shows(lease_id, "gone")
    assert line.reason == "The lease ended: it was not renewed in time."
    assert workers(agent.home) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restarted_agent_adopts_its_workers(
    brain: AgentBrain, agent: AgentProcess, number: signal.Signals
) -> None:
    lease_id, worker = await ready_worker(brain, agent)
    await agent.stop(number)
    assert worker.is_running()
    brain.beats.clear()
    agent.start()
    await brain.shows(lease_id, "ready")
    assert workers(agent.home) == [worker]
    assert brain.states(lease_id) == ["ready"]


async def test_a_lease_that_ended_while_the_agent_was_down_is_ended_at_its_return(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    _, worker = await ready_worker(brain, agent, ttl_seconds=TTL)
    await agent.stop(signal.SIGKILL)
    await brain.stop()
    agent.start()
    await until(lambda: not worker.is_running(), 60)
    assert workers(agent.home) == []
    await brain.start()


async def test_work_dropped_while_the_agent_was_down_is_removed(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    lease_id, _ = await ready_worker(brain, agent)
    await agent.stop(signal.SIGKILL)
    brain.drop(lease_id)
    agent.start()
    await until(lambda: workers(agent.home) == [], 60)
    assert await until(lambda: not brain.beats[-1].leases)


async def test_new_work_waits_until_the_old_is_gone(brain: AgentBrain, agent: AgentProcess) -> None:
    old_id, old = await ready_worker(brain, agent)
    new = lease_of(brain.leases[old_id].gpu_uuids, epoch=2)
    del brain.leases[old_id]
    brain.want(new)
    await brain.shows(new.lease_id, "ready")
    await until(lambda: not old.is_running())
    assert len(workers(agent.home)) == 1


async def test_an_old_epoch_is_refused(brain: AgentBrain, agent: AgentProcess) -> None:
    lease_id, _ = await ready_worker(brain, agent)
    late = lease_of(brain.leases[lease_id].gpu_uuids, epoch=0)
    brain.want(late)
    line = await brain.shows(late.lease_id, "failed")
    assert line.reason.startswith("Epoch 0 is refused: GPU SIM-")
    assert len(workers(agent.home)) == 1


async def test_a_crashed_worker_is_started_again(brain: AgentBrain, agent: AgentProcess) -> None:
    lease_id, worker = await ready_worker(brain, agent)
    worker.kill()
    await until(lambda: (seen := brain.seen(lease_id)) and seen.restarts == 1 and seen.port, 60)
    line = await brain.shows(lease_id, "ready")
    assert line.restarts == 1
    assert [w.pid for w in workers(agent.home)] != [worker.pid]


@pytest.mark.slow
async def test_a_crash_loop_ends_in_failed_with_the_reason(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.start()
    process = ["{python}", "-c", "print('no model here'); raise SystemExit(3)"]
    lease = lease_of(await brain.gpu_uuids(1), process=process, ttl_seconds=300)
    brain.want(lease)
    line = await brain.shows(lease.lease_id, "failed")
    assert line.reason.endswith("The process ended with exit code 3.")
    assert line.restarts == 5
    await until(lambda: brain.lines.get(lease.lease_id, []).count("no model here") == 6)


async def test_a_stop_signal_leaves_work_running_unless_told(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    _, worker = await ready_worker(brain, agent)
    assert await agent.stop() == 0
    assert worker.is_running()


async def test_a_local_agent_takes_its_work_with_it_and_says_so(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.environment["AGENT_STOP_WORK_ON_EXIT"] = "1"
    lease_id, _ = await ready_worker(brain, agent)
    assert await agent.stop(signal.SIGINT) == 0
    assert workers(agent.home) == []
    line = brain.seen(lease_id)
    assert line is not None
    assert line.state == "gone"


async def test_a_killed_local_agent_leaves_no_worker(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.environment["AGENT_STOP_WORK_ON_EXIT"] = "1"
    await ready_worker(brain, agent)
    await agent.stop(signal.SIGKILL)
    await until(lambda: workers(agent.home) == [])
    assert agent.process is not None


async def test_a_forgotten_session_is_opened_anew(brain: AgentBrain, agent: AgentProcess) -> None:
    lease_id, _ = await ready_worker(brain, agent)
    brain.forget_sessions()
    opened, beats = brain.sessions_opened, len(brain.beats)
    await until(lambda: len(brain.beats) > beats + 1)
    assert brain.sessions_opened > opened
    assert "stopping" not in brain.states(lease_id)


async def test_sessions_are_renewed_before_they_end(brain: AgentBrain, agent: AgentProcess) -> None:
    brain.session_seconds = 2
    agent.start()
    await until(lambda: brain.sessions_opened >= 3)
    assert "beat_failed" not in agent.printed()


async def test_an_order_is_heard_at_once(brain: AgentBrain, agent: AgentProcess) -> None:
    brain.beat_seconds = 300
    agent.start()
    await until(lambda: brain.waiting)
    lease = lease_of(await brain.gpu_uuids(1))
    brain.want(lease)
    assert await until(lambda: brain.states(lease.lease_id))


@pytest.mark.feature("C3")
async def test_it_stays_small(brain: AgentBrain, agent: AgentProcess) -> None:
    agent.cold = True
    await ready_worker(brain, agent)
    assert agent.rss_mib() <= 60
