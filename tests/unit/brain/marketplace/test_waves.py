"""Waves of an update: seeded, even, and broken off when too many take the version back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.marketplace import waves

pytestmark = pytest.mark.feature("C8")
NODES = [f"node_{number:032x}" for number in range(2000)]
A, B = "a" * 64, "b" * 64


def share(passed_hours: float, percent: float, sha256: str = A) -> float:
    due = [
        waves.due(waves.place(node, sha256), int(passed_hours * waves.HOUR_NS), percent)
        for node in NODES
    ]
    return sum(due) / len(due)


@pytest.mark.parametrize(("hours", "expected"), [(0, 0), (1, 0.25), (2, 0.5), (4, 1), (9, 1)])
def test_a_quarter_of_the_fleet_goes_each_hour(hours: float, expected: float) -> None:
    assert share(hours, 25) == pytest.approx(expected, abs=0.03)


def test_no_share_means_never() -> None:
    assert share(1000, 0) == 0


def test_each_release_begins_with_other_nodes() -> None:
    first = {node for node in NODES if waves.place(node, A) < 0.1}
    second = {node for node in NODES if waves.place(node, B) < 0.1}
    assert len(first & second) < len(first) / 2


@given(node=st.text(min_size=1), hours=st.floats(0, 100), later=st.floats(0, 100))
def test_whose_turn_it_was_keeps_it(node: str, hours: float, later: float) -> None:
    place = waves.place(node, A)
    before = waves.due(place, int(hours * waves.HOUR_NS), 10)
    after = waves.due(place, int((hours + later) * waves.HOUR_NS), 10)
    assert after or not before


@pytest.mark.parametrize(
    ("failed", "tried", "stops"),
    [(0, 0, False), (2, 2, False), (3, 3, True), (3, 15, False), (4, 15, True), (200, 999, True)],
)
def test_a_wave_ends_when_too_many_take_the_version_back(
    failed: int, tried: int, stops: bool
) -> None:
    assert waves.halted(failed=failed, tried=tried) is stops
