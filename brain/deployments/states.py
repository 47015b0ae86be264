"""Pure tables: what may become of a replica, and what a deployment's state may be."""

from __future__ import annotations

from enum import StrEnum

from kernel.machine import Machine


class ReplicaState(StrEnum):
    PENDING = "pending"  # waits for a place
    CLAIMED = "claimed"  # holds a lease; the agent has not started the worker
    LOADING = "loading"  # the worker runs and does not answer yet
    READY = "ready"
    DRAINING = "draining"  # finishes what runs, takes nothing new
    STOPPING = "stopping"  # told to stop; ends with evidence that the GPUs are free
    STOPPED = "stopped"
    FAILED = "failed"


class ReplicaEvent(StrEnum):
    CLAIM = "claim"
    CANCEL = "cancel"
    LOAD = "load"
    ANSWER = "answer"
    FALTER = "falter"
    DRAIN = "drain"
    STOP = "stop"
    CRASH = "crash"
    LOSE = "lose"
    END = "end"
    END_FAILED = "end_failed"


S, E = ReplicaState, ReplicaEvent

REPLICA = Machine(
    name="replica",
    start=S.PENDING,
    table={
        (S.PENDING, E.CLAIM): S.CLAIMED,
        (S.PENDING, E.CANCEL): S.STOPPED,
        (S.CLAIMED, E.LOAD): S.LOADING,
        (S.CLAIMED, E.ANSWER): S.READY,
        (S.LOADING, E.ANSWER): S.READY,
        (S.READY, E.FALTER): S.LOADING,
        (S.READY, E.DRAIN): S.DRAINING,
        (S.CLAIMED, E.STOP): S.STOPPING,
        (S.LOADING, E.STOP): S.STOPPING,
        (S.DRAINING, E.STOP): S.STOPPING,
        (S.CLAIMED, E.CRASH): S.STOPPING,
        (S.LOADING, E.CRASH): S.STOPPING,
        (S.READY, E.CRASH): S.STOPPING,
        (S.DRAINING, E.CRASH): S.STOPPING,
        (S.CLAIMED, E.LOSE): S.FAILED,
        (S.LOADING, E.LOSE): S.FAILED,
        (S.READY, E.LOSE): S.FAILED,
        (S.DRAINING, E.LOSE): S.FAILED,
        (S.STOPPING, E.END): S.STOPPED,
        (S.STOPPING, E.END_FAILED): S.FAILED,
    },
)

TERMINAL = frozenset({S.STOPPED, S.FAILED})
# States in which a lease is held, wanted or not.
HOLDING = frozenset({S.CLAIMED, S.LOADING, S.READY, S.DRAINING, S.STOPPING})
# The order in which surplus replicas go: those that cost least to lose first.
SURPLUS_ORDER = (S.PENDING, S.CLAIMED, S.LOADING, S.READY)
# What a gateway is told of.
SERVING = frozenset({S.READY, S.DRAINING})


class Asked(StrEnum):
    """What the owner asked of a deployment; the owner's column, never the reconciler's."""

    RUNNING = "running"
    STOPPED = "stopped"


class DeploymentState(StrEnum):
    """Derived from the replicas by ``core.derive``; stored nowhere."""

    WAITING = "waiting"  # for a place; ``why`` says why
    STARTING = "starting"
    RUNNING = "running"  # all replicas that were asked for are ready
    DEGRADED = "degraded"  # some are
    ASLEEP = "asleep"  # scaled to zero
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"  # the crash-loop breaker opened
