"""The replica's table, and how a deployment's state follows from its replicas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.deployments.core import derive
from brain.deployments.states import (
    HOLDING,
    REPLICA,
    TERMINAL,
    Asked,
    DeploymentState,
    ReplicaEvent,
    ReplicaState,
)

S = ReplicaState
STATES = st.lists(st.sampled_from(list(S)), max_size=6)


def test_only_stopped_and_failed_are_final() -> None:
    assert REPLICA.terminal() == TERMINAL


def test_a_ready_replica_drains_before_it_stops() -> None:
    leads = {after for (state, _), after in REPLICA.table.items() if state is S.READY}
    assert S.STOPPING in leads  # only by a crash
    assert not REPLICA.can(S.READY, ReplicaEvent.STOP)


def test_a_lease_is_never_dropped_without_stopping_or_losing_it() -> None:
    for (state, event), after in REPLICA.table.items():
        if state in HOLDING and after in TERMINAL:
            assert event in (ReplicaEvent.LOSE, ReplicaEvent.END, ReplicaEvent.END_FAILED)


@pytest.mark.parametrize(
    ("replicas", "states", "expected"),
    [
        (1, [], DeploymentState.WAITING),
        (1, [S.PENDING], DeploymentState.WAITING),
        (1, [S.CLAIMED], DeploymentState.STARTING),
        (2, [S.LOADING, S.PENDING], DeploymentState.STARTING),
        (1, [S.READY], DeploymentState.RUNNING),
        (2, [S.READY, S.LOADING], DeploymentState.DEGRADED),
        (1, [S.FAILED, S.STOPPED], DeploymentState.WAITING),
        (0, [], DeploymentState.ASLEEP),
        (0, [S.DRAINING], DeploymentState.STOPPING),
    ],
)
def test_a_running_deployment_is_what_its_replicas_are(
    replicas: int, states: list[S], expected: DeploymentState
) -> None:
    assert derive(Asked.RUNNING, replicas, False, states) is expected


@given(STATES)
def test_a_stopped_deployment_is_stopped_when_nothing_lives(states: list[S]) -> None:
    found = derive(Asked.STOPPED, 1, False, states)
    live = any(state not in TERMINAL for state in states)
    assert found is (DeploymentState.STOPPING if live else DeploymentState.STOPPED)


@given(STATES)
def test_a_broken_deployment_is_failed_unless_something_is_ready(states: list[S]) -> None:
    found = derive(Asked.RUNNING, 1, True, states)
    ready = S.READY in states
    assert found is (DeploymentState.DEGRADED if ready else DeploymentState.FAILED)
