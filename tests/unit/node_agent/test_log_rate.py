"""A flood of lines: so much a second and a day, and the loss is said once."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernel.clock import NS, ManualClock
from node_agent.log_quota import DAY_NS, LogRate
from node_agent.logs import LogShelf
from tests.unit.node_agent.test_logs import drained, write

pytestmark = pytest.mark.feature("C4")
RATE = LogRate(a_second=100, burst=1000, a_day=5000)
LINE = b"x" * 49 + b"\n"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(DAY_NS * 20_000)


@pytest.fixture
def shelf(tmp_path: Path, clock: ManualClock) -> LogShelf:
    return LogShelf(tmp_path, clock, rate=RATE)


def texts(shelf: LogShelf) -> list[str]:
    return [text for _, text in drained(shelf)]


def test_what_is_within_the_burst_is_shipped_whole(shelf: LogShelf, tmp_path: Path) -> None:
    write(tmp_path, LINE * 20)
    assert len(texts(shelf)) == 20


def test_a_flood_says_once_that_lines_were_dropped(
    shelf: LogShelf, tmp_path: Path, clock: ManualClock
) -> None:
    told = []
    for _ in range(30):
        write(tmp_path, LINE * 100)
        told += texts(shelf)
        clock._wall_ns += NS
    assert sum("dropped" in text for text in told) == 1
    assert len(told) == 1


def test_after_a_flood_lines_come_again_with_numbers_that_leave_no_gap(
    shelf: LogShelf, tmp_path: Path, clock: ManualClock
) -> None:
    write(tmp_path, LINE * 10)
    before = drained(shelf)
    write(tmp_path, LINE * 100 + b"half a li")
    flood = drained(shelf)
    clock._wall_ns += 60 * NS
    write(tmp_path, b"ne\nafter\n")
    after = drained(shelf)
    assert [number for number, _ in before + flood + after] == list(range(13))
    assert [text for _, text in after] == ["half a line", "after"]


def test_a_day_has_its_own_limit(shelf: LogShelf, tmp_path: Path, clock: ManualClock) -> None:
    shipped = []
    for _ in range(20):
        write(tmp_path, LINE * 10)
        shipped += texts(shelf)
        clock._wall_ns += 10 * NS
    assert sum(text.startswith("x") for text in shipped) == 100
    assert "until tomorrow" in shipped[-1]
    clock._wall_ns += DAY_NS
    write(tmp_path, LINE)
    assert len(texts(shelf)) == 1


def test_the_limit_outlives_the_agent(tmp_path: Path, clock: ManualClock) -> None:
    write(tmp_path, LINE * 20)
    assert len(texts(LogShelf(tmp_path, clock, rate=RATE))) == 20
    write(tmp_path, LINE * 20)
    (only,) = texts(LogShelf(tmp_path, clock, rate=RATE))
    assert "dropped" in only
