"""What a deployment does next: how many replicas, when, and its guards."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.deployments.core import (
    CRASH_WINDOW_NS,
    CRASHES_MAX,
    DeploymentView,
    ReplicaView,
    decide,
)
from brain.deployments.states import TERMINAL, Asked, ReplicaState
from kernel.clock import NS
from kernel.ids import ReplicaId

S = ReplicaState
NOW = 1_800_000_000 * NS
VIEW = DeploymentView(Asked.RUNNING, 2, False, False, NOW - 3600 * NS)


def replica(number: int, state: S, **more: object) -> ReplicaView:
    return ReplicaView(ReplicaId(f"rep_{number:032x}"), state, False, **more)  # type: ignore[arg-type]


REPLICAS = st.lists(
    st.builds(
        ReplicaView,
        replica_id=st.integers(0, 99).map(lambda n: ReplicaId(f"rep_{n:032x}")),
        state=st.sampled_from(list(S)),
        stop_asked=st.booleans(),
        crashed_ns=st.none() | st.integers(NOW - 2 * CRASH_WINDOW_NS, NOW),
        crashes=st.integers(0, 3),
    ),
    max_size=8,
    unique_by=lambda r: r.replica_id,
)


def wanted(replicas: list[ReplicaView]) -> list[ReplicaView]:
    ended = {*TERMINAL, S.STOPPING}
    return [r for r in replicas if not r.stop_asked and r.state not in ended]


def test_missing_replicas_are_added_at_once() -> None:
    found = decide(VIEW, [replica(1, S.READY)], NOW)
    assert (found.add, found.add_due_ns, found.stop) == (1, NOW, ())


def test_the_surplus_goes_youngest_and_least_ready_first() -> None:
    replicas = [replica(1, S.READY), replica(2, S.READY), replica(3, S.LOADING)]
    found = decide(replace(VIEW, replicas=1), replicas, NOW)
    assert [replica_id for replica_id, _ in found.stop] == [
        replicas[2].replica_id,
        replicas[1].replica_id,
    ]


def test_a_crash_is_answered_with_a_pause_that_grows() -> None:
    one = [replica(1, S.FAILED, crashed_ns=NOW, crashes=1)]
    three = [replica(n, S.FAILED, crashed_ns=NOW, crashes=1) for n in range(3)]
    assert decide(VIEW, one, NOW).add_due_ns == NOW + NS
    assert decide(VIEW, three, NOW).add_due_ns == NOW + 15 * NS


def test_a_lost_node_is_answered_at_once() -> None:
    found = decide(VIEW, [replica(1, S.FAILED), replica(2, S.READY)], NOW)
    assert (found.add, found.add_due_ns) == (1, NOW)


@pytest.mark.feature("D3")
def test_five_crashes_in_ten_minutes_break_it() -> None:
    replicas = [replica(n, S.FAILED, crashed_ns=NOW, crashes=1) for n in range(CRASHES_MAX)]
    found = decide(VIEW, [*replicas, replica(9, S.LOADING), replica(10, S.READY)], NOW)
    assert found.breaks
    assert [replica_id for replica_id, _ in found.stop] == [ReplicaId(f"rep_{9:032x}")]
    assert found.add == 0


def test_the_agents_own_restarts_count() -> None:
    found = decide(VIEW, [replica(1, S.FAILED, crashed_ns=NOW, crashes=CRASHES_MAX)], NOW)
    assert found.breaks


def test_whoever_starts_it_again_has_a_new_try() -> None:
    replicas = [replica(n, S.FAILED, crashed_ns=NOW - 1, crashes=1) for n in range(CRASHES_MAX)]
    assert decide(VIEW, replicas, NOW).breaks
    found = decide(replace(VIEW, started_ns=NOW), replicas, NOW)
    assert (found.breaks, found.add) == (None, 2)


def test_crashes_of_long_ago_are_forgotten() -> None:
    past = NOW - CRASH_WINDOW_NS - 1
    replicas = [replica(n, S.FAILED, crashed_ns=past, crashes=1) for n in range(9)]
    assert decide(VIEW, replicas, NOW).breaks is None


@given(REPLICAS, st.integers(0, 5))
def test_it_never_asks_for_more_or_fewer_than_were_asked(
    replicas: list[ReplicaView], asked: int
) -> None:
    found = decide(replace(VIEW, replicas=asked), replicas, NOW)
    if found.breaks is None:
        assert len(wanted(replicas)) + found.add - len(found.stop) == asked


@given(REPLICAS)
def test_a_stopped_deployment_keeps_nothing(replicas: list[ReplicaView]) -> None:
    found = decide(replace(VIEW, asked=Asked.STOPPED), replicas, NOW)
    assert {i for i, _ in found.stop} == {r.replica_id for r in wanted(replicas)}
    assert found.add == 0


GUARDS = {
    "credit": {"account_stopped": True},
    "duration": {"max_duration_seconds": 3600},
    "idle": {
        "idle_stop_seconds": 600,
        "last_used_ns": NOW - 600 * NS,
        "ready_ns": NOW - 900 * NS,
    },
}


@pytest.mark.feature("D3")
@pytest.mark.parametrize("guard", list(GUARDS))
@given(replicas=REPLICAS, broken=st.booleans(), asked=st.integers(0, 3))
def test_no_state_of_the_replicas_hides_a_guard(
    guard: str, replicas: list[ReplicaView], broken: bool, asked: int
) -> None:
    view = replace(VIEW, broken=broken, replicas=asked, **GUARDS[guard])  # type: ignore[arg-type]
    found = decide(view, replicas, NOW)
    assert found.ask_stop
    assert {i for i, _ in found.stop} == {r.replica_id for r in wanted(replicas)}


def test_a_guard_tells_when_to_look_again() -> None:
    view = replace(VIEW, max_duration_seconds=3700)
    assert decide(view, [replica(1, S.READY), replica(2, S.READY)], NOW).again_ns == NOW + 100 * NS


def test_use_puts_the_idle_stop_off() -> None:
    idle = replace(VIEW, idle_stop_seconds=600, ready_ns=NOW - 900 * NS)
    assert decide(idle, [], NOW).ask_stop
    found = decide(replace(idle, last_used_ns=NOW - 599 * NS), [], NOW)
    assert (found.ask_stop, found.again_ns) == (None, NOW + NS)


def test_it_is_not_idle_before_it_was_ready() -> None:
    waits = replace(VIEW, idle_stop_seconds=600)
    assert (decide(waits, [], NOW).ask_stop, decide(waits, [], NOW).again_ns) == (None, None)
    ready = replace(waits, last_used_ns=NOW - 3000 * NS, ready_ns=NOW - 599 * NS)
    assert decide(ready, [], NOW).ask_stop is None
