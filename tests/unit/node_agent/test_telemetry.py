"""Pure parts of the agent's telemetry: spans between beats, whose a process is, XIDs kept."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.wire.agent import XIDS_MAX, GpuReading, NvmlState, Span
from node_agent.gpu import GpuProcess, GpuView
from node_agent.gpu_owners import attributed
from node_agent.gpu_spans import READINGS_MAX, SpanBook, merged, of_reading
from node_agent.gpu_xids import XidBook
from node_agent.records import Phase, Work

pytestmark = pytest.mark.feature("C3")
CONTAINER = "a1" * 32


def gpu(uuid: str = "GPU-a", **told: Any) -> GpuReading:
    return GpuReading(uuid=uuid, name="card", memory_total_mib=81_559, **told)


# Spans.


@given(st.lists(st.integers(0, 100), min_size=1), st.data())
def test_no_peak_between_two_beats_is_missed_however_many_beats_are_lost(
    readings: list[int], data: st.DataObject
) -> None:
    book, arrived = SpanBook(), []
    for reading in readings:
        book.add([gpu(utilisation_percent=reading)])
        if data.draw(st.booleans()):
            told = book.tell()
            if data.draw(st.booleans()):  # the answer came
                arrived.append(told["GPU-a"].utilisation_percent)
                book.told()
                book.add([gpu(utilisation_percent=reading)])
                readings = [*readings, reading]
    arrived.append(book.tell()["GPU-a"].utilisation_percent)
    spans = [span for span in arrived if span is not None]
    assert sum(span.n for span in spans) == len(readings)
    assert sum(span.total for span in spans) == sum(readings)
    assert max(span.high for span in spans) == max(readings)
    assert min(span.low for span in spans) == min(readings)


def test_what_a_card_cannot_tell_has_no_span() -> None:
    spans = of_reading(gpu(memory_used_mib=5, power_mw=None))
    assert (spans.memory_mib, spans.power_mw) == (Span(1, 5, 5, 5), None)


def test_lost_gpus_are_not_measured() -> None:
    book = SpanBook()
    book.add([gpu(lost=True)])
    assert book.tell() == {}


def test_a_span_never_grows_past_what_the_brain_takes() -> None:
    most = of_reading(gpu())
    most.memory_mib = Span(READINGS_MAX, 0, 0, 0)
    assert merged(most, of_reading(gpu())).memory_mib == Span(1, 0, 0, 0)


# Owners.


def work(ref: str) -> Work:
    return Work("lease-1", 1, "ours", frozenset({"GPU-a"}), Phase.RUNNING, ref)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A container's process 10; a chain 40 < 30 < 20 < 1 of plain ones; 50 is a stranger's."""
    for pid, parent, group in (
        (10, 1, f"0::/system.slice/docker-{CONTAINER}.scope"),
        (20, 1, "0::/user.slice"),
        (30, 20, "0::/user.slice"),
        (40, 30, "0::/user.slice"),
        (50, 1, f"0::/docker/{'b2' * 32}"),
    ):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "cgroup").write_text(group + "\n")
        (folder / "stat").write_text(f"{pid} (a ) b) S {parent} 0 0\n")
    return tmp_path


def view(*processes: GpuProcess) -> GpuView:
    return GpuView(
        NvmlState.OK, (gpu(process_count=len(processes)),), 1, processes={"GPU-a": processes}
    )


def test_memory_is_told_apart_by_whose_process_holds_it(proc: Path) -> None:
    seen = view(GpuProcess(10, 1000), GpuProcess(40, 200), GpuProcess(50, 30))
    (found,) = attributed(seen, [work(CONTAINER), work("20:77")], proc).gpus
    assert (found.our_memory_mib, found.foreign_memory_mib) == (1200, 30)
    assert (found.process_count, found.foreign_process_count) == (3, 1)


def test_a_process_that_is_not_to_be_seen_is_nobodys(proc: Path) -> None:
    (found,) = attributed(view(GpuProcess(99, 500)), [work(CONTAINER)], proc).gpus
    assert (found.foreign_process_count, found.foreign_memory_mib) == (0, 0)


def test_memory_that_the_driver_does_not_tell_is_not_made_up(proc: Path) -> None:
    (found,) = attributed(view(GpuProcess(50, None)), [], proc).gpus
    assert (found.foreign_process_count, found.foreign_memory_mib) == (1, None)


# XIDs.


def test_xids_are_counted_by_number_and_outlive_the_agent(tmp_path: Path) -> None:
    path = tmp_path / "xids.json"
    XidBook(path, "boot-1").mark([gpu(energy_mj=10)], {"GPU-a": [63, 63, 94]})
    (found,) = XidBook(path, "boot-1").mark([gpu(energy_mj=20)], {"GPU-a": [63]})
    assert (found.xids, found.xid_last) == ({63: 3, 94: 1}, 63)


def test_a_new_boot_begins_with_none(tmp_path: Path) -> None:
    path = tmp_path / "xids.json"
    XidBook(path, "boot-1").mark([gpu()], {"GPU-a": [79]})
    (found,) = XidBook(path, "boot-2").mark([gpu()], {})
    assert (found.xids, found.xid_last) == ({}, None)


def test_a_driver_that_was_loaded_anew_begins_with_none() -> None:
    book = XidBook()
    book.mark([gpu(energy_mj=5_000)], {"GPU-a": [95]})
    (still,) = book.mark([gpu(energy_mj=5_001)], {})
    (after,) = book.mark([gpu(energy_mj=3)], {})
    assert (still.xids, after.xids) == ({95: 1}, {})


def test_kinds_of_xid_are_bounded() -> None:
    (found,) = XidBook().mark([gpu()], {"GPU-a": itertools.chain(range(1000), [7])})
    assert len(found.xids) == XIDS_MAX
    assert found.xids[7] == 2


def test_a_damaged_book_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "xids.json"
    path.write_bytes(b"{")
    (found,) = XidBook(path, "boot-1").mark([gpu()], {})
    assert found.xids == {}
