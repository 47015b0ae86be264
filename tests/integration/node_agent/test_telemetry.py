"""Beats go on whatever the driver does, and released means shown to be free."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.wire.agent import NvmlState
from tests.support.agent_brain import AgentBrain, lease_of
from tests.support.agent_process import AgentProcess, workers
from tests.support.nvml import StubNvml, build_stub
from tests.support.wait import until

pytestmark = [pytest.mark.feature("C3"), pytest.mark.real("gcc")]
SECONDS = 60


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
        NVML_SECONDS_MAX="3",
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
    await until(lambda: brain.beats[-1].nvml is NvmlState.HUNG, SECONDS)
    beats = len(brain.beats)
    await until(lambda: len(brain.beats) >= beats + 3, SECONDS)
    assert [gpu.uuid for gpu in brain.beats[-1].gpus] == ["GPU-a", "GPU-b"]
    stub.say(hang=False)
    await until(lambda: brain.beats[-1].nvml is NvmlState.OK, SECONDS)


async def test_a_lost_gpu_is_told_at_once(
    brain: AgentBrain, agent: AgentProcess, stub: StubNvml
) -> None:
    await until(lambda: brain.beats)
    stub.change("GPU-b", lost=True)
    await until(lambda: [gpu.lost for gpu in brain.beats[-1].gpus] == [False, True], SECONDS)
    lease = lease_of(["GPU-b"])
    brain.want(lease)
    line = await brain.shows(lease.lease_id, "failed")
    assert line.reason == "GPU GPU-b is lost."


async def test_work_is_gone_only_when_nvml_shows_its_gpu_free(
    brain: AgentBrain, agent: AgentProcess, stub: StubNvml
) -> None:
    lease = lease_of(await brain.gpu_uuids(1))
    brain.want(lease)
    await brain.shows(lease.lease_id, "ready")
    stub.change("GPU-a", processes=1)
    brain.ask_stop(lease.lease_id)
    await until(lambda: (x := brain.seen(lease.lease_id)) and "1 processes" in x.reason, SECONDS)
    assert workers(agent.home) == []
    assert brain.states(lease.lease_id)[-1] == "stopping"
    stub.change("GPU-a", processes=0)
    await brain.shows(lease.lease_id, "gone")


async def test_a_gpu_that_someone_else_computes_on_gets_no_work(
    brain: AgentBrain, agent: AgentProcess, stub: StubNvml
) -> None:
    stub.change("GPU-a", processes=2)
    await until(lambda: brain.beats and brain.beats[-1].gpus[0].process_count == 2, SECONDS)
    lease = lease_of(["GPU-a"])
    brain.want(lease)
    await until(lambda: (x := brain.seen(lease.lease_id)) and "not ours" in x.reason, SECONDS)
    assert workers(agent.home) == []


async def test_a_gpu_that_others_use_is_told_at_once_and_gets_no_work(
    brain: AgentBrain, agent: AgentProcess, stub: StubNvml
) -> None:
    """Memory alone, with no process to be seen, as from another container or a leak."""
    await until(lambda: brain.beats and not brain.beats[-1].gpus[0].foreign_use, SECONDS)
    stub.change("GPU-a", used_mib=9_000)
    await until(lambda: [g.foreign_use for g in brain.beats[-1].gpus] == [True, False], SECONDS)
    lease = lease_of(["GPU-a"])
    brain.want(lease)
    await until(
        lambda: (x := brain.seen(lease.lease_id)) and "in use that is not" in x.reason, SECONDS
    )
    stub.change("GPU-a", used_mib=0)
    await brain.shows(lease.lease_id, "ready")
    stub.change("GPU-a", used_mib=9_000)
    await until(lambda: brain.beats[-1].gpus[0].memory_used_mib == 9_000, SECONDS)
    assert not brain.beats[-1].gpus[0].foreign_use  # it is our work's


async def test_a_worker_is_shown_its_own_gpus_only(brain: AgentBrain, agent: AgentProcess) -> None:
    uuids = await brain.gpu_uuids(2)
    lease = lease_of(uuids[1:])
    brain.want(lease)
    await brain.shows(lease.lease_id, "ready")
    (worker,) = workers(agent.home)
    assert worker.environ()["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    assert not [name for name in worker.environ() if "TOKEN" in name or "BRAIN" in name]


async def test_a_beat_tells_of_the_readings_since_the_one_before(
    brain: AgentBrain, agent: AgentProcess, stub: StubNvml
) -> None:
    """Each reading is in exactly one beat, however many beats are lost in between."""
    await until(lambda: brain.beats, SECONDS)
    stub.tell("GPU-a", utilisation=97, power=650_000)
    await until(lambda: _peak(brain) == 97, SECONDS)
    stub.tell("GPU-a", utilisation=3)
    lost = agent.printed().count("beat_failed")
    brain.away = True
    await until(lambda: agent.printed().count("beat_failed") > lost, SECONDS)
    brain.away = False
    seen = len(brain.beats)
    await until(lambda: any(b.gpus[0].spans for b in brain.beats[seen:]), SECONDS)
    assert brain.beats[-1].host.nvml_reason == ""
    assert brain.beats[-1].host.uptime_seconds > 0
    told = [b.gpus[0].spans for b in brain.beats if b.gpus[0].spans is not None]
    assert len(told) < len(brain.beats)  # a beat with no new reading has none to tell


def _peak(brain: AgentBrain) -> int:
    spans = [beat.gpus[0].spans for beat in brain.beats]
    found = [one.utilisation_percent.high for one in spans if one and one.utilisation_percent]
    return max(found, default=-1)


async def test_an_xid_and_a_hung_driver_are_told_with_their_reason(
    brain: AgentBrain, agent: AgentProcess, stub: StubNvml
) -> None:
    await until(lambda: brain.beats and brain.beats[-1].nvml is NvmlState.OK, SECONDS)
    stub.raise_xid("GPU-b", 79)
    await until(lambda: brain.beats[-1].gpus[1].xids == {79: 1}, SECONDS)
    stub.say(hang=True)
    await until(lambda: "did not answer" in brain.beats[-1].host.nvml_reason, SECONDS)
    assert brain.beats[-1].gpus[1].xids == {79: 1}


async def test_nothing_new_starts_while_the_driver_hangs_and_it_starts_after(
    brain: AgentBrain, agent: AgentProcess, stub: StubNvml
) -> None:
    await until(lambda: brain.beats, SECONDS)
    stub.say(hang=True)
    await until(lambda: brain.beats[-1].nvml is NvmlState.HUNG, SECONDS)
    lease = lease_of(["GPU-a"])
    brain.want(lease)
    await until(lambda: (x := brain.seen(lease.lease_id)) and "NVML hangs" in x.reason, SECONDS)
    assert workers(agent.home) == []
    stub.say(hang=False)
    await brain.shows(lease.lease_id, "ready")


async def test_a_gpu_that_comes_back_is_told_and_takes_work_again(
    brain: AgentBrain, agent: AgentProcess, stub: StubNvml
) -> None:
    await until(lambda: brain.beats, SECONDS)
    stub.change("GPU-b", lost=True)
    await until(lambda: brain.beats[-1].gpus[1].lost, SECONDS)
    stub.change("GPU-b", lost=False)
    await until(lambda: not brain.beats[-1].gpus[1].lost, 60)
    lease = lease_of(["GPU-b"])
    brain.want(lease)
    assert (await brain.shows(lease.lease_id, "ready")).gpu_uuids == ["GPU-b"]


async def test_a_workers_own_process_is_not_foreign(
    brain: AgentBrain, agent: AgentProcess, stub: StubNvml
) -> None:
    lease = lease_of(["GPU-a"])
    await until(lambda: brain.beats, SECONDS)
    brain.want(lease)
    await brain.shows(lease.lease_id, "ready")
    (worker,) = workers(agent.home)
    tells = {"pid0": worker.pid, "mib0": 900, "pid1": os.getpid(), "mib1": 80}
    stub.change("GPU-a", processes=2, tells=tells)
    await until(lambda: brain.beats[-1].gpus[0].foreign_memory_mib == 80, SECONDS)
    card = brain.beats[-1].gpus[0]
    assert (card.our_memory_mib, card.foreign_process_count, card.process_count) == (900, 1, 2)
