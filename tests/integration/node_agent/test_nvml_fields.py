"""Every field of the real nvidia-ml-py against a stand-in library: old, new, and in trouble."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kernel.clock import NS
from kernel.wire.agent import GpuReading, NvmlState
from node_agent.gpu_nvml import NvmlGpus
from node_agent.gpu_xids import XidBook
from tests.support.nvml import StubGpu, StubNvml, build_stub

pytestmark = [pytest.mark.feature("C3"), pytest.mark.real("gcc")]

RICH: dict[str, int | None] = {
    "reserved": 512,
    "memory_degrees": 77,
    "power_limit": 500_000,
    "fan": 35,
    "persistence": 1,
    "compute_mode": 3,
    "ecc": 1,
    "ecc_corrected": 4,
    "ecc_uncorrected": 1,
    "ecc_corrected_ever": 40,
    "ecc_uncorrected_ever": 2,
    "rows_corrected": 3,
    "rows_uncorrected": 2,
    "rows_pending": 1,
    "pages_single": 5,
    "pages_double": 6,
    "pages_pending": 0,
    "recovery": 4,
    "pcie_generation": 4,
    "pcie_generation_max": 5,
    "pcie_width": 8,
    "pcie_width_max": 16,
    "pcie_rx": 1000,
    "pcie_tx": 2000,
    "pcie_replays": 9,
    "mig": 0,
}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., StubNvml]:
    def build(age: str = "") -> StubNvml:
        stub = build_stub(tmp_path, age=age)
        for name, value in stub.environment.items():
            monkeypatch.setenv(name, value)
        return stub

    return build


@pytest.fixture
async def gpus() -> AsyncIterator[NvmlGpus]:
    gpus = NvmlGpus(boot_ns=time.monotonic_ns, seconds_max=10, whole_seconds=0)
    yield gpus
    await gpus.close()


async def first(gpus: NvmlGpus) -> GpuReading:
    view = await gpus.read()
    assert view.state is NvmlState.OK, view.reason
    return view.gpus[0]


async def test_a_card_that_can_tell_everything_does(
    gpus: NvmlGpus, library: Callable[..., StubNvml]
) -> None:
    library().put(StubGpu("GPU-a", used_mib=4000, processes=1, tells=RICH))
    card = await first(gpus)
    assert (card.memory_used_mib, card.memory_reserved_mib) == (4000, 512)
    assert (card.utilisation_percent, card.memory_utilisation_percent) == (50, 10)
    assert (card.temperature_c, card.memory_temperature_c) == (41, 77)
    assert (card.power_limit_mw, card.power_default_limit_mw) == (500_000, 700_000)
    assert (card.sm_clock_max_mhz, card.memory_clock_max_mhz) == (1980, 2619)
    assert (card.ecc, card.ecc_corrected, card.ecc_uncorrected) == (True, 4, 1)
    assert (card.ecc_corrected_ever, card.ecc_uncorrected_ever) == (40, 2)
    assert (card.rows_remapped_corrected, card.rows_remapped_uncorrected) == (3, 2)
    assert (card.rows_pending, card.rows_failed) == (True, False)
    assert (card.pages_retired_corrected, card.pages_retired_uncorrected) == (5, 6)
    assert (card.pages_pending, card.recovery_action) == (False, 4)
    assert (card.pcie_generation, card.pcie_generation_max) == (4, 5)
    assert (card.pcie_width, card.pcie_width_max) == (8, 16)
    assert (card.pcie_rx_kib_s, card.pcie_tx_kib_s, card.pcie_replays) == (1000, 2000, 9)
    assert (card.fan_percent, card.persistence, card.compute_mode) == (35, True, 3)
    assert (card.mig, card.mig_devices, card.energy_mj) == (False, [], 123_456_789)


async def test_a_card_that_can_tell_next_to_nothing_is_read_all_the_same(
    gpus: NvmlGpus, library: Callable[..., StubNvml]
) -> None:
    nothing = dict.fromkeys(
        (
            "power",
            "power_limit",
            "power_default",
            "energy",
            "sm_clock",
            "sm_clock_max",
            "memory_clock",
            "memory_clock_max",
            "throttle",
            "utilisation",
            "degrees",
        )
    )
    library().put(StubGpu("GPU-a", used_mib=4000, tells=nothing))
    card = await first(gpus)
    assert card == GpuReading(
        "GPU-a", "Stub GPU", 81_559, memory_used_mib=4000, memory_reserved_mib=0
    )


@pytest.mark.parametrize("age", ["OLD", "NEWEST"])
async def test_libraries_of_other_ages_are_read_by_what_they_have(
    gpus: NvmlGpus, library: Callable[..., StubNvml], age: str
) -> None:
    library(age).put(StubGpu("GPU-a", used_mib=4000, processes=2, tells=RICH))
    card = await first(gpus)
    assert (card.temperature_c, card.process_count, card.throttle_reasons) == (41, 2, 4)
    if age == "OLD":  # no memory info v2: what the driver reserves is in "used"
        assert (card.memory_used_mib, card.memory_reserved_mib) == (4512, None)
        assert (card.rows_pending, card.mig, card.memory_temperature_c) == (None, None, None)
        assert card.recovery_action is None


async def test_a_split_card_tells_its_instances(
    gpus: NvmlGpus, library: Callable[..., StubNvml]
) -> None:
    library().put(StubGpu("GPU-a", tells={"mig": 1, "mig_devices": 2, "utilisation": None}))
    card = await first(gpus)
    assert (card.mig, card.mig_devices) == (True, ["MIG-GPU-a-0", "MIG-GPU-a-1"])
    assert card.utilisation_percent is None


async def test_processes_are_told_with_their_memory(
    gpus: NvmlGpus, library: Callable[..., StubNvml]
) -> None:
    library().put(
        StubGpu("GPU-a", processes=2, tells={"pid0": os.getpid(), "mib0": 700, "pid1": 7})
    )
    view = await gpus.read()
    assert {(p.pid, p.mib) for p in view.processes["GPU-a"]} == {(os.getpid(), 700), (7, 1)}


async def test_xids_are_counted_once_each_and_told_with_every_reading(
    gpus: NvmlGpus, library: Callable[..., StubNvml]
) -> None:
    stub = library()
    assert (await first(gpus)).xids == {}
    for number in (63, 94, 63):
        stub.raise_xid("GPU-a", number)
    stub.raise_xid("GPU-b", 31)
    await gpus.read()
    view = await gpus.read()
    assert [card.xids for card in view.gpus] == [{63: 2, 94: 1}, {31: 1}]
    assert [card.xid_last for card in view.gpus] == [63, 31]


async def test_xids_outlive_a_reader_that_was_killed(
    gpus: NvmlGpus, library: Callable[..., StubNvml]
) -> None:
    stub = library()
    await gpus.read()
    stub.raise_xid("GPU-a", 79)
    await gpus.read()
    assert gpus._child is not None
    gpus._child.kill()
    await gpus._child.wait()
    assert (await first(gpus)).xids == {79: 1}


async def test_a_driver_loaded_anew_forgets_them(
    gpus: NvmlGpus, library: Callable[..., StubNvml]
) -> None:
    stub = library()
    await gpus.read()
    stub.raise_xid("GPU-a", 95)
    assert (await first(gpus)).xids == {95: 1}
    stub.tell("GPU-a", energy=5)
    assert (await first(gpus)).xids == {}


async def test_a_card_without_events_is_read_without(
    gpus: NvmlGpus, library: Callable[..., StubNvml]
) -> None:
    stub = library()
    stub.put(StubGpu("GPU-a", tells={"no_events": 1}))
    await gpus.read()
    stub.raise_xid("GPU-a", 79)
    assert (await first(gpus)).xids == {}


async def test_a_gpu_that_fell_off_the_bus_comes_back(
    gpus: NvmlGpus, library: Callable[..., StubNvml]
) -> None:
    """The library itself shows it again only to a new session."""
    stub = library()
    await gpus.read()
    stub.change("GPU-a", lost=True)
    assert [card.lost for card in (await gpus.read()).gpus] == [True, False]
    stub.change("GPU-a", lost=False)
    assert [card.lost for card in (await gpus.read()).gpus] == [False, False]


async def test_a_gpu_that_vanished_is_told_with_a_reason_and_comes_back(
    gpus: NvmlGpus, library: Callable[..., StubNvml]
) -> None:
    stub = library()
    await gpus.read()
    stub.put(StubGpu("GPU-b"))
    view = await gpus.read()
    assert {card.uuid: card.lost for card in view.gpus} == {"GPU-a": True, "GPU-b": False}
    assert view.reason == "The driver does not show GPU-a any more."
    stub.put(StubGpu("GPU-a"), StubGpu("GPU-b"))
    view = await gpus.read()
    assert {card.uuid: card.lost for card in view.gpus} == {"GPU-a": False, "GPU-b": False}


async def test_what_changes_seldom_is_read_seldom(library: Callable[..., StubNvml]) -> None:
    stub = library()
    stub.put(StubGpu("GPU-a", tells=RICH))
    now_ns = [NS]
    gpus = NvmlGpus(boot_ns=lambda: now_ns[0], seconds_max=10, whole_seconds=30)
    assert (await first(gpus)).fan_percent == 35
    stub.tell("GPU-a", fan=90, power=1)
    quick = await first(gpus)
    assert (quick.fan_percent, quick.power_mw) == (35, 1)
    now_ns[0] += 30 * NS
    assert (await first(gpus)).fan_percent == 90
    await gpus.close()


async def test_a_driver_that_hangs_again_and_again_is_asked_ever_more_seldom(
    library: Callable[..., StubNvml],
) -> None:
    library().say(hang=True)
    now_ns = [NS]
    gpus = NvmlGpus(boot_ns=lambda: now_ns[0], seconds_max=0.3)
    asked = []
    for _ in range(40):
        began = time.monotonic()
        assert (await gpus.read()).state is NvmlState.HUNG
        asked.append(time.monotonic() - began > 0.2)
        now_ns[0] += NS
    await gpus.close()
    assert asked[:2] == [True, True]
    assert sum(asked) <= 7
    assert "did not answer within 0.3 s" in (await gpus.read()).reason


async def test_the_book_of_xids_is_kept_beside_the_agents_state(
    tmp_path: Path, library: Callable[..., StubNvml]
) -> None:
    stub = library()
    path = tmp_path / "home" / "xids.json"
    for _ in range(2):
        book = XidBook(path, "boot-1")
        gpus = NvmlGpus(boot_ns=time.monotonic_ns, seconds_max=10, whole_seconds=0, xids=book)
        await gpus.read()
        stub.raise_xid("GPU-a", 63)
        card = await first(gpus)
        await gpus.close()
    assert card.xids == {63: 2}
    assert path.stat().st_mode & 0o777 == 0o600
