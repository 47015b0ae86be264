"""The real nvidia-ml-py in the agent's child process, against a stand-in library."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kernel.wire.agent import NvmlState
from node_agent.gpu_nvml import STUCK_CHILDREN_MAX, NvmlGpus
from tests.support.nvml import StubGpu, StubNvml, build_stub

pytestmark = [pytest.mark.feature("C3"), pytest.mark.real("gcc")]


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubNvml:
    stub = build_stub(tmp_path)
    for name, value in stub.environment.items():
        monkeypatch.setenv(name, value)
    return stub


@pytest.fixture
async def gpus(stub: StubNvml) -> AsyncIterator[NvmlGpus]:
    gpus = NvmlGpus(boot_ns=time.monotonic_ns, seconds_max=5, whole_seconds=0)
    yield gpus
    await gpus.close()


async def test_it_reads_what_the_card_tells(gpus: NvmlGpus, stub: StubNvml) -> None:
    stub.put(StubGpu("GPU-a", total_mib=81_559, used_mib=4_000, processes=2, degrees=63))
    view = await gpus.read()
    card = view.gpus[0]
    assert (view.state, view.driver_version) == (NvmlState.OK, "570.00-stub")
    assert (card.uuid, card.memory_total_mib, card.memory_used_mib) == ("GPU-a", 81_559, 4_000)
    assert (card.process_count, card.temperature_c, card.power_mw) == (2, 63, 350_000)
    assert (card.utilisation_percent, card.throttle_reasons) == (50, 4)
    assert not card.simulated


async def test_what_a_card_does_not_support_is_left_out(gpus: NvmlGpus) -> None:
    assert (await gpus.read()).gpus[0].ecc_uncorrected is None


async def test_a_hung_driver_is_a_state_within_the_deadline(gpus: NvmlGpus, stub: StubNvml) -> None:
    await gpus.read()
    stub.say(hang=True)
    began = time.monotonic()
    view = await gpus.read()
    assert view.state is NvmlState.HUNG
    assert time.monotonic() - began < 30  # and not until the driver answers
    assert [card.uuid for card in view.gpus] == ["GPU-a", "GPU-b"]


async def test_the_child_is_replaced_when_the_driver_answers_again(
    gpus: NvmlGpus, stub: StubNvml
) -> None:
    stub.say(hang=True)
    assert (await gpus.read()).state is NvmlState.HUNG
    stub.say(hang=False)
    assert (await gpus.read()).state is NvmlState.OK


async def test_a_hung_reading_proves_nothing_about_now(gpus: NvmlGpus, stub: StubNvml) -> None:
    before = await gpus.read()
    stub.say(hang=True)
    assert (await gpus.read()).read_ns == before.read_ns


class HeldByTheDriver:
    """A process that SIGKILL does not end, which no test can make for real."""

    returncode = None
    pid = 1

    async def wait(self) -> int:
        return 0


async def test_readers_do_not_pile_up_in_a_driver_that_holds_them(gpus: NvmlGpus) -> None:
    gpus._stuck = [HeldByTheDriver()] * STUCK_CHILDREN_MAX  # type: ignore[list-item]
    assert (await gpus.read()).state is NvmlState.HUNG
    assert gpus._child is None


async def test_a_lost_gpu_is_told_as_lost_with_its_name(gpus: NvmlGpus, stub: StubNvml) -> None:
    await gpus.read()
    stub.change("GPU-b", lost=True)
    view = await gpus.read()
    assert {card.uuid: card.lost for card in view.gpus} == {"GPU-a": False, "GPU-b": True}


async def test_a_gpu_that_vanished_is_told_as_lost(gpus: NvmlGpus, stub: StubNvml) -> None:
    await gpus.read()
    stub.put(StubGpu("GPU-a"))
    view = await gpus.read()
    assert {card.uuid: card.lost for card in view.gpus} == {"GPU-a": False, "GPU-b": True}


async def test_no_driver_is_absent_and_comes_back(gpus: NvmlGpus, stub: StubNvml) -> None:
    stub.say(absent=True)
    view = await gpus.read()
    assert (view.state, view.gpus, view.reason) == (NvmlState.ABSENT, (), "Driver Not Loaded")
    stub.say(absent=False)
    assert (await gpus.read()).state is NvmlState.OK


async def test_a_killed_child_costs_no_reading(gpus: NvmlGpus) -> None:
    await gpus.read()
    assert gpus._child is not None
    gpus._child.kill()
    await gpus._child.wait()
    assert (await gpus.read()).state is NvmlState.OK
