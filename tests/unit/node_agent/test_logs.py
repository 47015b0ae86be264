"""Log lines: rising numbers, nothing twice, bounded files, over restarts of the agent."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.clock import ManualClock
from node_agent.engine import log_path
from node_agent.logs import BATCH_BYTES_MAX, BATCH_LINES_MAX, LINE_CHARACTERS_MAX, LogShelf


@pytest.fixture
def shelf(tmp_path: Path) -> LogShelf:
    return LogShelf(tmp_path, ManualClock())


def write(home: Path, content: bytes, lease: str = "lease-1") -> None:
    path = log_path(home, lease)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(content)


def drained(shelf: LogShelf, *, flush: bool = False) -> list[tuple[int, str]]:
    """Every waiting line with its number; all are taken."""
    found: list[tuple[int, str]] = []
    while (waiting := shelf.next_batch("lease-1", flush=flush)) is not None:
        batch, after = waiting
        found += [(batch.first + at, line.text) for at, line in enumerate(batch.lines)]
        shelf.taken("lease-1", after)
    return found


def test_lines_are_numbered_on(shelf: LogShelf, tmp_path: Path) -> None:
    write(tmp_path, b"one\ntwo\n")
    assert drained(shelf) == [(0, "one"), (1, "two")]
    write(tmp_path, b"three\n")
    assert drained(shelf) == [(2, "three")]


def test_a_line_is_not_shipped_before_it_is_whole(shelf: LogShelf, tmp_path: Path) -> None:
    write(tmp_path, b"whole\nhalf")
    assert drained(shelf) == [(0, "whole")]
    assert drained(shelf, flush=True) == [(1, "half")]


def test_what_was_not_taken_is_offered_again_with_its_numbers(
    shelf: LogShelf, tmp_path: Path
) -> None:
    write(tmp_path, b"one\n")
    first = shelf.next_batch("lease-1", flush=False)
    write(tmp_path, b"two\n")
    second = LogShelf(tmp_path, ManualClock()).next_batch("lease-1", flush=False)
    assert first is not None
    assert second is not None
    assert (first[0].first, second[0].first) == (0, 0)
    assert [line.text for line in second[0].lines] == ["one", "two"]


def test_numbers_go_on_after_a_restart(shelf: LogShelf, tmp_path: Path) -> None:
    write(tmp_path, b"one\n")
    drained(shelf)
    write(tmp_path, b"two\n")
    assert drained(LogShelf(tmp_path, ManualClock())) == [(1, "two")]


def test_a_file_over_its_quota_is_emptied_and_it_is_said(tmp_path: Path) -> None:
    shelf = LogShelf(tmp_path, ManualClock(), quota_bytes=1000)
    write(tmp_path, b"kept\n")
    assert drained(shelf) == [(0, "kept")]
    write(tmp_path, b"x" * 2000 + b"\n")
    assert drained(shelf) == [(1, "[agent] 2001 bytes of output were dropped.")]
    write(tmp_path, b"after\n")
    assert drained(shelf) == [(2, "after")]
    assert log_path(tmp_path, "lease-1").stat().st_size < 1000


def test_a_progress_bar_is_its_last_state(shelf: LogShelf, tmp_path: Path) -> None:
    write(tmp_path, b"load 1%\rload 50%\rload 100%\n")
    assert drained(shelf) == [(0, "load 100%")]


def test_what_databases_refuse_is_replaced(shelf: LogShelf, tmp_path: Path) -> None:
    write(tmp_path, b"a\x00b\xff\n")
    assert drained(shelf) == [(0, "a\ufffdb\ufffd")]


def test_a_line_without_end_is_cut(shelf: LogShelf, tmp_path: Path) -> None:
    write(tmp_path, b"x" * (BATCH_BYTES_MAX + 10))
    ((number, text),) = drained(shelf)
    assert (number, len(text)) == (0, LINE_CHARACTERS_MAX)


@given(pieces=st.lists(st.binary(max_size=60), max_size=30))
def test_whatever_is_written_each_line_is_shipped_once(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    home = tmp_path_factory.mktemp("logs")
    found: list[tuple[int, str]] = []
    for piece in pieces:
        write(home, piece)
        found += drained(LogShelf(home, ManualClock()))  # a new agent each time
    found += drained(LogShelf(home, ManualClock()), flush=True)
    whole = b"".join(pieces)
    expected = whole.split(b"\n")[:-1] if whole.endswith(b"\n") else whole.split(b"\n")
    assert [number for number, _ in found] == list(range(len(expected) if whole else 0))


def test_batches_are_bounded(shelf: LogShelf, tmp_path: Path) -> None:
    write(tmp_path, b"x\n" * (BATCH_LINES_MAX * 2 + 1))
    waiting = shelf.next_batch("lease-1", flush=False)
    assert waiting is not None
    assert len(waiting[0].lines) == BATCH_LINES_MAX
    assert len(drained(shelf)) == BATCH_LINES_MAX * 2 + 1
