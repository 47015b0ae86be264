"""The tables of pods and volumes, and the one word that people see."""

from __future__ import annotations

import pytest

from brain.deployments.states import DeploymentState
from brain.pods.states import (
    LIVE_VOLUMES,
    POD,
    VOLUME,
    PodEvent,
    PodLife,
    PodState,
    VolumeEvent,
    VolumeState,
    pod_state,
)
from kernel.errors import Conflict


@pytest.mark.parametrize("state", list(PodLife))
@pytest.mark.parametrize("event", list(PodEvent))
def test_a_pod_ends_only_after_it_was_terminated(state: PodLife, event: PodEvent) -> None:
    allowed = {
        (PodLife.KEPT, PodEvent.TERMINATE): PodLife.TERMINATING,
        (PodLife.TERMINATING, PodEvent.END): PodLife.TERMINATED,
    }
    if (state, event) in allowed:
        assert POD.next(state, event) is allowed[state, event]
    else:
        with pytest.raises(Conflict):
            POD.next(state, event)


@pytest.mark.parametrize("event", list(VolumeEvent))
def test_nothing_comes_back_from_gone_and_only_a_dropped_volume_vanishes(
    event: VolumeEvent,
) -> None:
    with pytest.raises(Conflict):
        VOLUME.next(VolumeState.GONE, event)
    for state in LIVE_VOLUMES:
        with pytest.raises(Conflict):
            VOLUME.next(state, VolumeEvent.VANISH)
    assert VOLUME.next(VolumeState.DROPPING, VolumeEvent.VANISH) is VolumeState.GONE


@pytest.mark.parametrize("runs", set(DeploymentState) - {DeploymentState.ASLEEP})
def test_every_state_of_its_deployment_is_shown_as_one_of_a_pod(runs: DeploymentState) -> None:
    assert pod_state(PodLife.KEPT, runs.value) in set(PodState)
    assert pod_state(PodLife.TERMINATING, runs.value) is PodState.TERMINATING
    assert pod_state(PodLife.TERMINATED, runs.value) is PodState.TERMINATED
