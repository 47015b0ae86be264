"""Silence and its guard, reception, time running out, and what a report changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.fleet import core
from brain.fleet.core import LeaseFacts, NodeLiveness, Outcome, Receiving, Report
from brain.fleet.states import LeaseState
from kernel.clock import NS
from kernel.wire.agent import LeaseSeen, LeaseSeenState

NOW = 10_000 * NS


def facts(**changes: object) -> LeaseFacts:
    values: dict[str, object] = {
        "lease_id": "lease",
        "epoch": 3,
        "generation": 5,
        "state": LeaseState.OPEN,
        "ttl_seconds": 600,
        "opened_ns": NOW - 1000 * NS,
        "renewed_ns": NOW - 100 * NS,
    }
    return LeaseFacts(**{**values, **changes})  # type: ignore[arg-type]


def node(name: str, silent_for: float, *, marked: float | None = None) -> NodeLiveness:
    since = None if marked is None else NOW - round(marked * NS)
    return NodeLiveness(name, NOW - round(silent_for * NS), since)


def fleet_of(silent: int, heard: int) -> list[NodeLiveness]:
    quiet = [node(f"quiet-{n}", 30) for n in range(silent)]
    return quiet + [node(f"heard-{n}", 1) for n in range(heard)]


def test_reception_reaches_back_over_brains_that_overlap() -> None:
    spans = [Receiving(0, 50 * NS), Receiving(48 * NS, 99 * NS), Receiving(90 * NS, 100 * NS)]
    assert core.receiving_since(spans, 101 * NS) == 0


def test_a_gap_in_reception_starts_it_anew() -> None:
    spans = [Receiving(0, 50 * NS), Receiving(56 * NS, 100 * NS)]
    assert core.receiving_since(spans, 100 * NS) == 56 * NS


def test_nobody_receives_when_the_last_mark_is_old() -> None:
    assert core.receiving_since([Receiving(0, 50 * NS)], 56 * NS) is None
    assert core.receiving_since([], 56 * NS) is None


@pytest.mark.feature("F4")
def test_silence_before_the_brain_received_does_not_count() -> None:
    found = core.silence(fleet_of(1, 9), NOW - 10 * NS, NOW)
    assert found == core.Silence()
    assert core.silence(fleet_of(1, 9), None, NOW) == core.Silence()


def test_one_silent_node_of_ten_falls() -> None:
    assert core.silence(fleet_of(1, 9), 0, NOW).fallen == ("quiet-0",)


@pytest.mark.feature("F4")
@pytest.mark.parametrize(
    ("silent", "heard", "freezes"),
    [(3, 7, False), (4, 16, False), (4, 15, True), (5, 5, True), (1, 0, True), (2, 0, True)],
)
def test_too_many_at_once_freeze_evictions(silent: int, heard: int, freezes: bool) -> None:
    found = core.silence(fleet_of(silent, heard), 0, NOW)
    assert bool(found.frozen) is freezes
    assert (found.fallen == ()) is freezes
    assert core.silence(fleet_of(silent, 0), 0, NOW, others=heard) == found


def test_nodes_that_fell_before_the_window_do_not_count() -> None:
    old = [node(f"old-{n}", 5000, marked=4000) for n in range(50)]
    assert core.silence([*old, *fleet_of(1, 9)], 0, NOW).fallen == ("quiet-0",)


def test_the_guard_counts_those_that_fell_a_moment_ago() -> None:
    fallen = [node(f"fallen-{n}", 40, marked=10) for n in range(3)]
    found = core.silence([*fallen, *fleet_of(1, 10)], 0, NOW)
    assert found.frozen
    assert found.fallen == ()


def test_a_node_that_is_heard_again_rises() -> None:
    assert core.silence([node("back", 1, marked=500)], 0, NOW).risen == ("back",)


@given(
    silent=st.lists(st.floats(0, 21.4), max_size=40),
    since=st.integers(0, NOW) | st.none(),
)
def test_a_node_that_beats_in_time_is_never_marked(silent: list[float], since: int | None) -> None:
    nodes = [node(f"n{place}", seconds) for place, seconds in enumerate(silent)]
    assert core.silence(nodes, since, NOW).fallen == ()


@pytest.mark.feature("C5")
@pytest.mark.parametrize(
    ("renewed_ago", "since_ago", "out"),
    [
        (609, 9000, False),
        (610, 9000, True),
        (900, 609, False),
        (900, 610, True),
        (900, None, False),
    ],
)
def test_a_lease_runs_out_after_ttl_and_grace_of_reception(
    renewed_ago: int, since_ago: int | None, out: bool
) -> None:
    lease = facts(renewed_ns=NOW - renewed_ago * NS)
    since = None if since_ago is None else NOW - since_ago * NS
    assert core.run_out(lease, since, NOW) is out


REPORTS = [
    (LeaseState.OPEN, None, LeaseSeenState.STARTING, Report("lease")),
    (LeaseState.OPEN, "starting", LeaseSeenState.LOADING, Report("lease", loading=True)),
    (LeaseState.OPEN, "loading", LeaseSeenState.READY, Report("lease", loading=True, ready=True)),
    (LeaseState.OPEN, "ready", LeaseSeenState.READY, Report("lease")),
    (LeaseState.OPEN, "ready", LeaseSeenState.FAILED, Report("lease", stop="why")),
    (LeaseState.STOPPING, "failed", LeaseSeenState.FAILED, Report("lease")),
    (LeaseState.STOPPING, "failed", LeaseSeenState.GONE, Report("lease", close=Outcome.FAILED)),
    (LeaseState.STOPPING, "ready", LeaseSeenState.GONE, Report("lease", close=Outcome.RELEASED)),
    (LeaseState.OPEN, None, LeaseSeenState.GONE, Report("lease")),
    (
        LeaseState.OPEN,
        "ready",
        LeaseSeenState.GONE,
        Report("lease", stop="why", close=Outcome.RELEASED),
    ),
]


@pytest.mark.parametrize(("state", "before", "seen", "wanted"), REPORTS)
def test_what_a_report_changes(
    state: LeaseState, before: str | None, seen: LeaseSeenState, wanted: Report
) -> None:
    lease = facts(state=state, seen_state=before)
    assert core.read(lease, LeaseSeen("lease", 3, seen, reason="why")) == wanted


def test_unknown_leases_and_old_epochs_are_ignored() -> None:
    live = {"lease": facts(seen_state="ready")}
    reports = [
        LeaseSeen("other", 9, LeaseSeenState.FAILED),
        LeaseSeen("lease", 2, LeaseSeenState.FAILED),
    ]
    found = core.sort_leases(live, reports, generation_applied=5, now_ns=NOW, evident_ns={})
    assert (found.changed, found.renewed, found.evidence) == ((), (), ())
    assert found.missing == ("lease",)


def test_a_stop_that_takes_too_long_is_not_evidence_to_pay_for() -> None:
    report = LeaseSeen("lease", 3, LeaseSeenState.STOPPING)
    for seconds, paid in ((30, ("lease",)), (31, ())):
        live = {"lease": facts(state=LeaseState.STOPPING, stop_asked_ns=NOW - seconds * NS)}
        found = core.sort_leases(live, [report], generation_applied=5, now_ns=NOW, evident_ns={})
        assert (found.evidence, found.renewed) == (paid, ("lease",))


@pytest.mark.feature("C5")
@pytest.mark.parametrize("applied", [4, 5])
@pytest.mark.parametrize(("asked_ago", "renewed"), [(900, ("lease",)), (901, ())])
def test_a_stop_that_takes_for_ever_is_renewed_no_more(
    applied: int, asked_ago: int, renewed: tuple[str, ...]
) -> None:
    asked_ns = NOW - asked_ago * NS
    live = {"lease": facts(state=LeaseState.STOPPING, stop_asked_ns=asked_ns, drain_seconds=300)}
    says = [LeaseSeen("lease", 3, LeaseSeenState.STOPPING)] if applied == 5 else []
    found = core.sort_leases(live, says, generation_applied=applied, now_ns=NOW, evident_ns={})
    assert (found.renewed, found.missing) == (renewed, ())


def test_an_agents_text_is_made_fit_for_the_database() -> None:
    assert core.plain("a\x00b\ud800") == "ab?"


@pytest.mark.feature("C5")
def test_silence_is_judged_by_what_the_slowest_brain_has_written() -> None:
    """A node speaks to one brain: what that one heard and has not written is not silence."""
    long_ago = NOW - 600 * NS
    quick, slow = core.Receiving(long_ago, NOW), core.Receiving(long_ago, NOW - 4 * NS)
    stopped = core.Receiving(long_ago, NOW - 8 * NS)
    assert core.hearing([quick], NOW) == core.Hearing(long_ago, NOW)
    assert core.hearing([quick, slow], NOW) == core.Hearing(long_ago, NOW - 4 * NS)
    assert core.hearing([quick, stopped], NOW) == core.Hearing(NOW - 8 * NS, NOW)
    assert core.hearing([stopped], NOW).since_ns is None
    assert core.hearing([], NOW).since_ns is None


@pytest.mark.feature("G1")
@pytest.mark.parametrize(
    ("state", "asked_s", "last_s", "paid"),
    [
        ("ready", None, 5, True),
        ("ready", None, 500, True),  # it ran on while nobody heard
        ("ready", 10, 5, True),
        ("ready", 31, 5, False),
        ("stopping", None, 5, False),
        ("stopping", 10, 5, True),
        ("stopping", 10, 28, False),  # asked for while nobody heard: it may have ended long ago
        ("stopping", 31, 5, False),
    ],
)
def test_what_of_an_end_is_the_renters_time(
    state: str, asked_s: int | None, last_s: int, paid: bool
) -> None:
    asked = {} if asked_s is None else {"stop_asked_ns": NOW - asked_s * NS}
    found = core.sort_leases(
        {"lease": facts(**asked)},
        [LeaseSeen("lease", 3, LeaseSeenState(state))],
        generation_applied=5,
        now_ns=NOW,
        evident_ns={"lease": NOW - last_s * NS},
    )
    assert (found.evidence == ("lease",)) is paid
