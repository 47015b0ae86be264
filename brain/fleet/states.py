"""The life of a lease, as a table. What the agent sees is another column with another owner."""

from __future__ import annotations

from enum import StrEnum

from kernel.machine import Machine


class LeaseState(StrEnum):
    OPEN = "open"  # asked: run
    STOPPING = "stopping"  # asked: stop; the GPUs are not free before there is evidence
    CLOSED = "closed"


class LeaseEvent(StrEnum):
    STOP = "stop"
    RELEASE = "release"  # evidence: the work is gone and the GPUs are free
    LOSE = "lose"  # its time ran out, or the host booted anew


LEASE: Machine[LeaseState, LeaseEvent] = Machine(
    name="lease",
    start=LeaseState.OPEN,
    table={
        (LeaseState.OPEN, LeaseEvent.STOP): LeaseState.STOPPING,
        (LeaseState.STOPPING, LeaseEvent.RELEASE): LeaseState.CLOSED,
        (LeaseState.OPEN, LeaseEvent.LOSE): LeaseState.CLOSED,
        (LeaseState.STOPPING, LeaseEvent.LOSE): LeaseState.CLOSED,
    },
)
LIVE = (LeaseState.OPEN.value, LeaseState.STOPPING.value)
