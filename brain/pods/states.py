"""Pure tables: what may become of a pod and of a volume."""

from __future__ import annotations

from enum import StrEnum

from kernel.machine import Machine


class PodLife(StrEnum):
    """What its owner made of it. Whether it runs is its deployment's state."""

    KEPT = "kept"
    TERMINATING = "terminating"  # its worker ends; then it is no more
    TERMINATED = "terminated"


class PodEvent(StrEnum):
    TERMINATE = "terminate"
    END = "end"


POD = Machine(
    name="pod",
    start=PodLife.KEPT,
    table={
        (PodLife.KEPT, PodEvent.TERMINATE): PodLife.TERMINATING,
        (PodLife.TERMINATING, PodEvent.END): PodLife.TERMINATED,
    },
)


class VolumeState(StrEnum):
    NEW = "new"  # on no node yet: nothing is kept, nothing is billed
    KEPT = "kept"  # its node has reported it
    DROPPING = "dropping"  # its node is told to remove it
    GONE = "gone"  # its node reports it no more


class VolumeEvent(StrEnum):
    FIND = "find"
    DROP = "drop"
    VANISH = "vanish"


VOLUME = Machine(
    name="volume",
    start=VolumeState.NEW,
    table={
        (VolumeState.NEW, VolumeEvent.FIND): VolumeState.KEPT,
        (VolumeState.NEW, VolumeEvent.DROP): VolumeState.DROPPING,
        (VolumeState.KEPT, VolumeEvent.DROP): VolumeState.DROPPING,
        (VolumeState.DROPPING, VolumeEvent.VANISH): VolumeState.GONE,
    },
)

LIVE_VOLUMES = frozenset({VolumeState.NEW, VolumeState.KEPT})


class PodState(StrEnum):
    """As people see it: derived by ``pod_state``, stored nowhere."""

    WAITING = "waiting"  # for a place; ``why`` says why
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"  # its starts fail again and again
    TERMINATING = "terminating"
    TERMINATED = "terminated"


_DEGRADED = "degraded"  # it runs, and starts of it failed before


def pod_state(life: PodLife, runs: str) -> PodState:
    """One word for what it is; ``runs`` is its deployment's state."""
    match life:
        case PodLife.TERMINATED:
            return PodState.TERMINATED
        case PodLife.TERMINATING:
            return PodState.TERMINATING
        case PodLife.KEPT:
            return PodState.RUNNING if runs == _DEGRADED else PodState(runs)
