"""Maintenance windows: when nothing new is placed, and what they excuse."""

from __future__ import annotations

import pytest

from brain.trust.core.windows import Closed, Window, check, closed, excused_seconds, excuses_loss
from kernel.clock import NS
from kernel.errors import BadInput

HOUR = 3600 * NS
NOW = 1000 * HOUR
pytestmark = pytest.mark.feature("C6")


def window(begin: int, end: int, *, announced: int = 0, **more: int | None) -> Window:
    """Hours from now."""
    return Window(
        "w", NOW + begin * HOUR, NOW + end * HOUR, 4 * HOUR, NOW + announced * HOUR, **more
    )


def test_nothing_new_is_placed_from_the_notice_on() -> None:
    assert closed([window(10, 12)], NOW) == Closed(NOW + 6 * HOUR, NOW + 12 * HOUR)


def test_windows_that_touch_are_one_and_the_next_comes_after() -> None:
    found = closed([window(20, 22), window(10, 12), window(14, 17)], NOW)
    assert found == Closed(NOW + 6 * HOUR, NOW + 22 * HOUR)


def test_cancelled_and_past_windows_close_nothing() -> None:
    assert closed([window(10, 12, cancelled_ns=NOW), window(-3, -1, announced=-9)], NOW) is None


def test_a_late_one_closes_from_its_announcement_and_excuses_nothing() -> None:
    late = window(1, 3)
    assert late.late
    assert closed([late], NOW) == Closed(NOW, NOW + 3 * HOUR)
    assert excused_seconds([late], NOW, NOW + 9 * HOUR) == 0
    assert not excuses_loss([late], NOW + HOUR, NOW + 2 * HOUR)


def test_overlapping_windows_excuse_a_second_once() -> None:
    found = [window(10, 14), window(12, 16)]
    assert excused_seconds(found, NOW + 11 * HOUR, NOW + 20 * HOUR) == 5 * 3600


def test_a_lease_that_is_lost_by_a_window_may_end_after_it() -> None:
    short = window(10, 11)
    assert excuses_loss([short], NOW + 10 * HOUR, NOW + 12 * HOUR)
    assert not excuses_loss([short], NOW + 11 * HOUR, NOW + 12 * HOUR)
    assert not excuses_loss([short], NOW + 8 * HOUR, NOW + 9 * HOUR)


@pytest.mark.parametrize(
    ("begin", "end", "what"),
    [(-1, 1, "past"), (2, 2, "after"), (24 * 91, 24 * 91 + 1, "ahead"), (1, 24 * 8, "lasts")],
)
def test_an_announcement_that_cannot_be_is_refused(begin: int, end: int, what: str) -> None:
    with pytest.raises(BadInput, match=what):
        check(NOW + begin * HOUR, NOW + end * HOUR, NOW)
