"""What a replica that holds a lease does next, from what the fleet sees."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brain.deployments.core import (
    CLAIM_SECONDS_MAX,
    CRASH_WINDOW_NS,
    CRASHES_MAX,
    ReplicaView,
    Seen,
    newest_restarts,
    step,
)
from brain.deployments.states import HOLDING, REPLICA, ReplicaEvent, ReplicaState
from kernel.clock import NS
from kernel.ids import ReplicaId
from kernel.wire.agent import RESTARTS_MAX, LeaseSeenState
from tests.support.cases import cases

S, E, L = ReplicaState, ReplicaEvent, LeaseSeenState
NOW = 1_800_000_000 * NS
VIEW = ReplicaView(
    ReplicaId("rep_" + "1" * 32), S.CLAIMED, False, state_ns=NOW - NS, claimed_ns=NOW - NS
)
SEEN = st.none() | st.builds(
    Seen,
    state=st.none() | st.sampled_from(list(L)),
    closed=st.booleans(),
    stopping=st.booleans(),
    silent=st.booleans(),
    failed=st.booleans(),
    restarts=st.integers(0, 9),
)
VIEWS = st.builds(
    ReplicaView,
    replica_id=st.just(VIEW.replica_id),
    state=st.sampled_from(sorted(HOLDING)),
    stop_asked=st.booleans(),
    crashed_ns=st.none() | st.just(NOW - 1),
    state_ns=st.integers(NOW - 5000 * NS, NOW),
    claimed_ns=st.integers(NOW - 5000 * NS, NOW),
)


def event(view: ReplicaView, seen: Seen | None, *, drained: bool = False) -> E | None:
    found = step(view, seen, drained=drained, now_ns=NOW)
    return None if found is None else found.event


@pytest.mark.parametrize(
    ("state", "seen", "expected"),
    [
        (S.CLAIMED, Seen(), None),
        (S.CLAIMED, Seen(L.STARTING), None),
        (S.CLAIMED, Seen(L.LOADING), E.LOAD),
        (S.CLAIMED, Seen(L.READY), E.ANSWER),
        (S.LOADING, Seen(L.READY), E.ANSWER),
        (S.READY, Seen(L.READY), None),
        (S.READY, Seen(L.LOADING), E.FALTER),
        (S.READY, Seen(L.FAILED), E.CRASH),
        (S.READY, Seen(closed=True, failed=True), E.CRASH),
        (S.READY, Seen(closed=True), E.LOSE),
        (S.READY, Seen(L.READY, silent=True), E.LOSE),
        (S.READY, Seen(L.READY, stopping=True), E.CRASH),
        (S.READY, None, E.LOSE),
        (S.STOPPING, Seen(L.STOPPING, stopping=True), None),
        (S.STOPPING, Seen(closed=True), E.END),
    ],
)
def test_it_follows_what_is_seen(state: S, seen: Seen | None, expected: E | None) -> None:
    assert event(replace(VIEW, state=state), seen) is expected


def test_asked_to_stop_it_drains_when_ready_and_stops_when_not() -> None:
    asked = replace(VIEW, stop_asked=True)
    assert event(asked, Seen(L.LOADING)) is E.STOP
    assert event(replace(asked, state=S.READY), Seen(L.READY)) is E.DRAIN


@pytest.mark.feature("D3")
def test_it_drains_until_nothing_is_in_flight_or_time_is_over() -> None:
    draining = replace(VIEW, state=S.DRAINING, stop_asked=True, drain_seconds_max=300)
    assert event(draining, Seen(L.READY)) is None
    assert event(draining, Seen(L.READY), drained=True) is E.STOP
    late = replace(draining, state_ns=NOW - 300 * NS)
    assert event(late, Seen(L.READY)) is E.STOP


def test_a_node_that_does_not_take_the_lease_up_is_given_up() -> None:
    late = replace(VIEW, claimed_ns=NOW - CLAIM_SECONDS_MAX * NS)
    assert event(late, Seen()) is E.CRASH


def test_a_worker_that_does_not_get_ready_is_given_up() -> None:
    late = replace(VIEW, state=S.LOADING, start_seconds_max=60, state_ns=NOW - 60 * NS)
    assert event(late, Seen(L.LOADING)) is E.CRASH


@pytest.mark.parametrize(
    ("seen", "counted"),
    [
        (Seen(L.FAILED, restarts=3), 4),
        (Seen(L.GONE, closed=True, failed=True), 1),
        (Seen(L.GONE, closed=True), 0),
    ],
)
def test_only_a_failure_counts_against_the_deployment(seen: Seen, counted: int) -> None:
    """A node that stops ends its work too: as often as one likes, and no crash loop."""
    found = step(replace(VIEW, state=S.READY), seen, drained=False, now_ns=NOW)
    assert found is not None
    assert (found.event, found.crashes) == (E.CRASH, counted)


def test_a_crash_while_stopping_is_not_counted() -> None:
    view = replace(VIEW, state=S.DRAINING, stop_asked=True)
    found = step(view, Seen(L.FAILED, restarts=3), drained=False, now_ns=NOW)
    assert found is not None
    assert found.crashes == 0


def test_only_the_increase_of_restarts_counts() -> None:
    old, new = NOW - CRASH_WINDOW_NS, NOW - CRASH_WINDOW_NS + 1
    assert newest_restarts([old, new], 7, 9, NOW) == [new, NOW, NOW]
    assert newest_restarts([new], 9, 0, NOW) == [new]  # an agent that forgot its count
    assert newest_restarts([], 0, RESTARTS_MAX, NOW) == [NOW] * CRASHES_MAX


@settings(max_examples=cases(1000))
@given(VIEWS, SEEN, st.booleans())
def test_every_move_is_in_the_table(view: ReplicaView, seen: Seen | None, drained: bool) -> None:
    found = step(view, seen, drained=drained, now_ns=NOW)
    if found is not None:
        assert REPLICA.can(view.state, found.event)


@settings(max_examples=cases(1000))
@given(VIEWS, SEEN, st.booleans())
def test_no_move_leaves_an_open_lease_behind(
    view: ReplicaView, seen: Seen | None, drained: bool
) -> None:
    found = step(view, seen, drained=drained, now_ns=NOW)
    if found is None or seen is None or seen.closed or seen.stopping:
        return
    if REPLICA.next(view.state, found.event) in (S.STOPPING, S.STOPPED, S.FAILED):
        assert found.stops_lease or view.state is S.STOPPING
