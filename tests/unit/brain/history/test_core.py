"""Laws of the history: folds add, rolls of rolls are rolls, and the window that is shown."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.history.core import (
    INT_MAX,
    KEPT,
    METRICS,
    NO_NUMBERS,
    NONE,
    POINTS_MAX,
    SLOTS,
    Fold,
    Kind,
    Metric,
    fold,
    of_span,
    of_value,
    rolled,
    row_of,
    series_of,
    shown,
    window,
)
from brain.history.models import COLUMNS
from kernel.errors import BadInput
from kernel.wire.agent import GpuSpans, Span

pytestmark = pytest.mark.feature("C3")

VALUES = st.lists(st.integers(0, INT_MAX), max_size=30)
SAMPLES = st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, INT_MAX)), max_size=60)
NOW_S = 1_800_000_000


@given(VALUES, VALUES)
def test_counts_and_sums_add_and_bounds_are_exact(first: list[int], second: list[int]) -> None:
    both = fold(first) + fold(second)
    every = first + second
    assert both == fold(every)
    assert (both.n, both.total) == (len(every), sum(every))
    if every:
        assert (both.low, both.high) == (min(every), max(every))


@given(VALUES)
def test_a_mean_is_the_nearest_integer_and_lies_within_the_bounds(values: list[int]) -> None:
    found = fold(values)
    if not values:
        assert found.mean is None
        return
    assert found.mean is not None
    assert found.low <= found.mean <= found.high
    assert abs(Fraction(sum(values), len(values)) - found.mean) <= Fraction(1, 2)


@given(SAMPLES, st.sampled_from([60, 300]), st.sampled_from([2, 6, 12]))
def test_a_roll_of_rolls_is_the_roll_of_the_raw(
    samples: list[tuple[int, int]], step_s: int, times: int
) -> None:
    raw = [(at, fold([value])) for at, value in samples]
    once = rolled(raw, step_s * times)
    assert rolled(rolled(raw, step_s).items(), step_s * times) == once
    assert sum(one.n for one in once.values()) == len(samples)


@given(SAMPLES, st.randoms())
def test_the_order_in_which_samples_come_does_not_matter(
    samples: list[tuple[int, int]], chance: object
) -> None:
    raw = [(at, fold([value])) for at, value in samples]
    assert rolled(reversed(raw), 60) == rolled(raw, 60)


@pytest.mark.parametrize(
    "span",
    [
        Span(2, 10, 20, 5),
        Span(2, 100, 1, 5),
        Span(2, 1, 1, 5),
        Span(1, 2**40, 2**40, 2**40),
        Span(0, 0, 0, 0),
        None,
    ],
)
def test_a_span_that_cannot_be_is_none(span: Span | None) -> None:
    assert of_span(span) == NO_NUMBERS


def test_a_span_is_kept_as_it_was_told() -> None:
    assert of_span(Span(3, 120, 10, 90)) == (120, 3, 10, 90)


def test_a_row_has_its_numbers_where_their_columns_are() -> None:
    slots = [(10 * k, k, k + 100, k + 200) for k in range(SLOTS)]
    row = row_of(7, 60, slots)
    assert row is not None
    named = dict(zip(COLUMNS, row, strict=True))
    assert (named["series"], named["at_s"]) == (7, 60)
    for k in range(SLOTS):
        found = tuple(named[f"{one}_{k}"] for one in ("total", "n", "low", "high"))
        assert found == slots[k]
    assert row_of(7, 60, [NO_NUMBERS] * SLOTS) is None


@pytest.mark.parametrize("value", [None, -1.0, float("nan"), float("inf"), 1e300])
def test_a_reading_that_cannot_be_is_none(value: float | None) -> None:
    assert of_value(value, 1000) == NO_NUMBERS


def test_series_differ_by_kind_and_by_every_name() -> None:
    found = {
        series_of(kind, *names)
        for kind in Kind
        for names in [("node_a",), ("node_a", "GPU-1"), ("node_a", "GPU-2"), ("node_b", "GPU-1")]
    }
    assert len(found) == 12
    assert all(-(2**63) <= number < 2**63 for number in found)


def test_every_kind_fits_its_row() -> None:
    assert {len(metrics) for metrics in METRICS.values()} == {SLOTS}
    assert len(GpuSpans.__struct_fields__) == SLOTS


@given(st.integers(1, KEPT.hour_s), st.integers(0, KEPT.hour_s))
def test_without_a_step_the_points_are_always_few_enough(length_s: int, age_s: int) -> None:
    until = NOW_S - age_s
    if age_s + length_s > KEPT.hour_s:
        return
    found = window(until - length_s, until, None, NOW_S)
    assert 1 <= len(found.starts) <= POINTS_MAX
    assert found.from_s <= until - length_s < until <= found.until_s
    assert found.step_s % found.base_s == 0


@given(st.integers(60, KEPT.hour_s), st.integers(10, 4000))
def test_what_is_refused_says_a_step_that_is_taken(length_s: int, step_s: int) -> None:
    asked = [step_s]
    for _ in range(3):  # of the wrong kind first, then still too many points
        try:
            found = window(NOW_S - length_s, NOW_S, asked[-1], NOW_S)
            break
        except BadInput as refusal:
            word = "step of" if "step of" in refusal.detail else "multiple of"
            asked.append(int(refusal.detail.partition(word)[2].split()[0]))
    assert found.step_s == asked[-1]
    assert len(found.starts) <= POINTS_MAX


@pytest.mark.parametrize(
    ("age_s", "base_s"), [(3600, 10), (3 * 3600, 60), (6 * 86_400, 60), (30 * 86_400, 3600)]
)
def test_the_finest_that_is_still_kept_is_looked_at(age_s: int, base_s: int) -> None:
    assert window(NOW_S - age_s, NOW_S - age_s + 600, None, NOW_S).base_s == base_s


@pytest.mark.parametrize(
    ("from_s", "until_s"), [(NOW_S, NOW_S), (NOW_S, NOW_S - 1), (NOW_S - KEPT.hour_s - 1, NOW_S)]
)
def test_a_window_that_is_none_is_refused(from_s: int, until_s: int) -> None:
    with pytest.raises(BadInput):
        window(from_s, until_s, None, NOW_S)


def test_gaps_are_shown_as_gaps_and_units_as_said() -> None:
    means, lows, highs = shown([Fold(2, 3000, 1000, 2000), NONE], Metric("power", "W", 1000))
    assert (means, lows, highs) == ([1.5, None], [1.0, None], [2.0, None])
