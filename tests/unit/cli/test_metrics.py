"""Lines of bars, times as they are typed, numbers as they are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.commands.metrics import BARS, GAP, number, seconds_of, sparkline
from cli.faults import CliError

pytestmark = pytest.mark.feature("D5")


def test_bars_go_from_the_least_to_the_most_and_gaps_stay_gaps() -> None:
    assert sparkline([0, None, 50, 100]) == f"{BARS[0]}{GAP}{BARS[4]}{BARS[7]}"


def test_what_never_changes_is_a_flat_line() -> None:
    assert sparkline([5, 5, 5]) == BARS[0] * 3
    assert sparkline([None, None]) == GAP * 2


@given(st.lists(st.one_of(st.none(), st.floats(0, 1e6)), min_size=1, max_size=500))
def test_a_line_never_is_wider_than_asked_and_loses_no_measurement(
    values: list[float | None],
) -> None:
    line = sparkline(values, 40)
    assert len(line) == min(len(values), 40)
    assert (set(line) == {GAP}) == (all(value is None for value in values))


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("7d", 604_800)])
def test_times_are_read(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1.5h", "0m", "1w", "1h "])
def test_what_is_no_time_says_how_to_write_it(text: str) -> None:
    with pytest.raises(CliError) as failure:
        seconds_of(text)
    assert "30m" in failure.value.advice


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.456, "0.46"), (12.34, "12.3"), (81_559.5, "81,560")]
)
def test_numbers_have_the_figures_that_matter(value: float, text: str) -> None:
    assert number(value) == text
