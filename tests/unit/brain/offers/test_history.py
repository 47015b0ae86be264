"""What the past says: smoothed from cloud to host, faded by the week."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.offers.core.breaker import Outcome, OutcomeKind, Scope
from brain.offers.core.history import (
    BOOT_SECONDS,
    FAILURE_PPM,
    HALF_LIFE_NS,
    MILLION,
    SPOT_LOSS_PPM,
    STRENGTH,
    History,
    Tally,
    counted,
)

HOST = Scope("vast", "eu", "NVIDIA L4", "h1")
OTHER = Scope("vast", "eu", "NVIDIA L4", "h2")


def tally(served: int = 0, failed: int = 0, **more: int) -> Tally:
    return Tally(served * MILLION, failed * MILLION, **{k: v * MILLION for k, v in more.items()})


def hopes(history: History, place: Scope = HOST, *, spot: bool = False) -> tuple[int, int, int]:
    found = history.prospect(place, spot=spot, boot_told=None)
    return found.failure_ppm, found.loss_ppm, found.boot_seconds


@pytest.mark.feature("F2")
def test_without_a_past_the_guess_is_kept() -> None:
    assert hopes(History([])) == (FAILURE_PPM, 0, BOOT_SECONDS)
    assert hopes(History([]), spot=True)[1] == SPOT_LOSS_PPM
    assert History([]).prospect(HOST, spot=False, boot_told=33).boot_seconds == 33


@pytest.mark.feature("F2")
def test_the_formula_is_the_one_that_is_written_down() -> None:
    history = History([(Scope("c"), tally(served=15, failed=5))])
    failure, _, _ = hopes(history, Scope("c"))
    cloud = (5 * MILLION + STRENGTH * FAILURE_PPM) // (20 + STRENGTH)
    gpu = (5 * MILLION + STRENGTH * cloud) // (20 + STRENGTH)
    region = (5 * MILLION + STRENGTH * gpu) // (20 + STRENGTH)
    assert failure == pytest.approx(region, abs=2)


@pytest.mark.feature("F2")
def test_a_host_that_failed_is_worse_than_its_neighbour_and_both_than_none() -> None:
    history = History([(HOST, tally(failed=10)), (OTHER, tally(served=10))])
    bad, good = hopes(history)[0], hopes(history, OTHER)[0]
    elsewhere = hopes(history, Scope("lambda", "us", "NVIDIA L4"))[0]
    assert good < bad
    assert elsewhere == FAILURE_PPM < bad


@pytest.mark.feature("F2")
def test_boot_times_come_near_what_was_seen() -> None:
    history = History([(HOST, tally(boots=50, boot_seconds=50 * 600))])
    assert 550 < hopes(history)[2] <= 600
    assert 550 < hopes(history, OTHER)[2] <= 600, "the region tells of a host that is new"


@pytest.mark.feature("F2")
def test_interruptions_make_spot_dearer_and_on_demand_stays_sure() -> None:
    history = History([(HOST, tally(served=10, interrupted=8))])
    assert hopes(history, spot=True)[1] > hopes(History([]), spot=True)[1]
    assert hopes(History([(HOST, tally(served=10))]))[1] == 0


def test_the_past_fades_by_half_a_week() -> None:
    assert tally(served=8).faded(HALF_LIFE_NS) == tally(served=4)
    assert tally(served=8).faded(-5) == tally(served=8)


COUNTS = st.integers(0, 10_000)
TALLIES = st.builds(
    lambda s, f, i, b, t: Tally(s, f, i, b, b * t), COUNTS, COUNTS, COUNTS, COUNTS, COUNTS
)
PLACES = st.builds(
    Scope,
    st.sampled_from(["a", "b"]),
    st.sampled_from(["eu", "us"]),
    st.sampled_from(["L4", "H100"]),
    st.sampled_from(["", "h1"]),
)


@given(st.lists(st.tuples(PLACES, TALLIES), max_size=20), PLACES, st.booleans())
def test_chances_are_chances(told: list[tuple[Scope, Tally]], place: Scope, spot: bool) -> None:
    failure, loss, boot = hopes(History(told), place, spot=spot)
    assert 0 <= failure <= MILLION
    assert 0 <= loss <= MILLION
    assert 0 <= boot <= 10_000 + BOOT_SECONDS


@pytest.mark.parametrize("kind", list(OutcomeKind))
def test_each_outcome_counts_once_at_most(kind: OutcomeKind) -> None:
    made = counted(Outcome("c", "r", "g", "", kind, boot_seconds=-3))
    assert made.served + made.failed + made.interrupted in (0, MILLION)
    assert made.boot_seconds == 0
