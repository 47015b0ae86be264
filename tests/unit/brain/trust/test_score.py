"""The score: order does not matter, a bad event never raises it, age heals, alike everywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.clock import NS
from kernel.reliability import (
    DAY_SECONDS,
    HALF_LIFE_SECONDS,
    KEPT_SECONDS,
    MILLION,
    Event,
    EventKind,
    score,
    weight,
)

pytestmark = pytest.mark.feature("C6")
NOW = 400 * DAY_SECONDS * NS
SINCE = 100 * DAY_SECONDS * NS
BAD = [kind for kind in EventKind if kind is not EventKind.SERVED_LEASE]


def events(kinds: list[EventKind]) -> st.SearchStrategy[Event]:
    return st.builds(
        Event,
        at_ns=st.integers(0, NOW),
        kind=st.sampled_from(kinds),
        subject=st.text("abc", min_size=1, max_size=3),
        seconds=st.integers(0, 10**7),
    )


@given(st.lists(events(list(EventKind)), max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_events_does_not_matter(found: list[Event], chance: object) -> None:
    shuffled = list(found)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert score(found, since_ns=SINCE, as_of_ns=NOW) == score(
        shuffled, since_ns=SINCE, as_of_ns=NOW
    )


@given(st.lists(events(list(EventKind)), max_size=30), events(BAD))
def test_a_bad_event_never_raises_it(found: list[Event], bad: Event) -> None:
    before = score(found, since_ns=SINCE, as_of_ns=NOW).ppm
    assert 0 <= score([*found, bad], since_ns=SINCE, as_of_ns=NOW).ppm <= before <= MILLION


@given(st.lists(events(BAD), max_size=20))
def test_served_leases_never_lower_it(found: list[Event]) -> None:
    served = Event(NOW, EventKind.SERVED_LEASE, "s")
    before = score(found, since_ns=SINCE, as_of_ns=NOW).ppm
    assert score([*found, served], since_ns=SINCE, as_of_ns=NOW).ppm >= before


@given(st.integers(0, KEPT_SECONDS), st.integers(0, KEPT_SECONDS))
def test_what_is_older_weighs_no_more(one: int, other: int) -> None:
    assert weight(max(one, other)) <= weight(min(one, other))


def test_weights_halve_every_fourteen_days_and_end() -> None:
    halvings = [weight(n * HALF_LIFE_SECONDS) for n in range(3)]
    assert halvings == [1_000_000, 500_000, 250_000]
    assert weight(HALF_LIFE_SECONDS // 2) == 750_000
    assert weight(KEPT_SECONDS) == 0


def test_a_node_of_which_nothing_is_known_is_trusted() -> None:
    assert score([], since_ns=NOW, as_of_ns=NOW).ppm == MILLION


def test_one_lost_lease_in_numbers() -> None:
    """As in docs/trust.md: 1,000,000 x 1,000,000 / 1,040,000."""
    lost = Event(NOW, EventKind.LOST_LEASE, "lease_a")
    assert score([lost], since_ns=SINCE, as_of_ns=NOW).ppm == 961_538
    served = [Event(NOW, EventKind.SERVED_LEASE, f"s{n}") for n in range(20)]
    assert score([lost, *served], since_ns=SINCE, as_of_ns=NOW).ppm == 980_392


def test_an_hour_of_silence_in_the_first_week() -> None:
    out = Event(NOW, EventKind.OUTAGE, "1", seconds=3600)
    found = score([out], since_ns=NOW, as_of_ns=NOW)
    assert (found.life_seconds, found.uptime_ppm) == (539_997, 993_334)
