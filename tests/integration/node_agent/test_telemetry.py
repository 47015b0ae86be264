"""Beats go on whatever the driver does, and released means shown to be free."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.wire.agent import NvmlState
from tests.support.agent_brain import AgentBrain, lease_of
from tests.support.agent_process import AgentProcess, workers
from tests.support.nvml import StubNvml, build_stub
from tests.support.wait import until

pytestmark = [pytest.mark.feature("C3"), pytest.mark.real("gcc")]


@pytest.fixture
def stub(tmp_path: Path) -> StubNvml:
    folder = tmp_path / "nvml"
    folder.mkdir()
    return build_stub(folder)


@pytest.fixture
def agent(brain: AgentBrain, stub: StubNvml, tmp_path: Path) -> Iterator[AgentProcess]:
    agent = AgentProcess(
        tmp_path / "agent",
        brain.url,
        SIMULATE_GPUS="0",
        NVML_SECONDS_MAX="1",
        **stub.environment,
    )
    agent.start()
    yield agent
    agent.clean()


async def test_a_hung_driver_does_not_stop_the_beats(
    brain: AgentBrain, agent: AgentProcess, stub: StubNvml
) -> None:
    await until(lambda: brain.beats)
    stub.say(hang=True)
    await until(lambda: brain.beats[-1].nvml is NvmlState.HUNG, 15)
    beats = len(brain.beats)
    await until(lambda: len(brain.beats) >= beats + 3, 10)
    assert [gpu.uuid for gpu in brain.beats[-1].gpus] == ["GPU-a", "GPU-b"]
    stub.say(hang=False)
    await until(lambda: brain.beats[-1].nvml is NvmlState.OK, 15)


async def test_a_lost_gpu_is_told_at_once(
    brain: AgentBrain, agent: AgentProcess, stub: StubNvml
) -> None:
    await until(lambda: brain.beats)
    stub.change("GPU-b", lost=True)
    await until(lambda: [gpu.lost for gpu in brain.beats[-1].gpus] == [False, True], 15)
    lease = lease_of(["GPU-b"])
    brain.want(lease)
    line = await brain.shows(lease.lease_id, "failed")
    assert line.reason == "GPU GPU-b is lost."


async def test_work_is_gone_only_when_nvml_shows_its_gpu_free(
    brain: AgentBrain, agent: AgentProcess, stub: StubNvml
) -> None:
    lease = lease_of(await brain.gpu_uuids(1))
    brain.want(lease)
    await brain.shows(lease.lease_id, "ready", 20)
    stub.change("GPU-a", processes=1)
    brain.ask_stop(lease.lease_id)
    await until(lambda: (x := brain.seen(lease.lease_id)) and "1 processes" in x.reason, 15)
    assert workers(agent.home) == []
    assert brain.states(lease.lease_id)[-1] == "stopping"
    stub.change("GPU-a", processes=0)
    await brain.shows(lease.lease_id, "gone", 15)


async def test_a_gpu_that_someone_else_computes_on_gets_no_work(
    brain: AgentBrain, agent: AgentProcess, stub: StubNvml
) -> None:
    stub.change("GPU-a", processes=2)
    await until(lambda: brain.beats and brain.beats[-1].gpus[0].process_count == 2, 15)
    lease = lease_of(["GPU-a"])
    brain.want(lease)
    await until(lambda: (x := brain.seen(lease.lease_id)) and "not ours" in x.reason, 15)
    assert workers(agent.home) == []


async def test_a_gpu_that_others_use_is_told_at_once_and_gets_no_work(
    brain: AgentBrain, agent: AgentProcess, stub: StubNvml
) -> None:
    """Memory alone, with no process to be seen, as from another container or a leak."""
    await until(lambda: brain.beats and not brain.beats[-1].gpus[0].foreign_use, 15)
    stub.change("GPU-a", used_mib=9_000)
    await until(lambda: [g.foreign_use for g in brain.beats[-1].gpus] == [True, False], 15)
    lease = lease_of(["GPU-a"])
    brain.want(lease)
    await until(lambda: (x := brain.seen(lease.lease_id)) and "in use that is not" in x.reason, 15)
    stub.change("GPU-a", used_mib=0)
    await brain.shows(lease.lease_id, "ready", 20)
    stub.change("GPU-a", used_mib=9_000)
    await until(lambda: brain.beats[-1].gpus[0].memory_used_mib == 9_000, 15)
    assert not brain.beats[-1].gpus[0].foreign_use  # it is our work's


async def test_a_worker_is_shown_its_own_gpus_only(brain: AgentBrain, agent: AgentProcess) -> None:
    uuids = await brain.gpu_uuids(2)
    lease = lease_of(uuids[1:])
    brain.want(lease)
    await brain.shows(lease.lease_id, "ready", 20)
    (worker,) = workers(agent.home)
    assert worker.environ()["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    assert not [name for name in worker.environ() if "TOKEN" in name or "BRAIN" in name]
