"""Pure: which leases and outages become events of a node's score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brain.trust.core.windows import Window, excused_seconds, excuses_loss
from kernel.clock import NS
from kernel.reliability import Event, EventKind

SERVED_SECONDS_MIN = 600


@dataclass(frozen=True)
class LeaseEnd:
    """How a lease ended. ``outcome`` is the fleet's word; ``unasked``: its work was gone before
    anybody asked for its end; ``last_ns``: when it was last renewed."""

    lease_id: str
    opened_ns: int
    last_ns: int
    closed_ns: int
    outcome: str
    unasked: bool
    reason: str


def of_lease(lease: LeaseEnd, windows: Sequence[Window], *, own: bool) -> Event | None:
    """What a lease that ended counts. A provider's own work never does, for or against."""
    if own:
        return None
    kind = _kind(lease)
    if kind is None:
        return None
    excusable = kind in (EventKind.LOST_LEASE, EventKind.INTERRUPTION)
    if excusable and excuses_loss(windows, lease.last_ns, lease.closed_ns):
        return None
    return Event(lease.closed_ns, kind, lease.lease_id, 0, lease.reason)


def _kind(lease: LeaseEnd) -> EventKind | None:
    if lease.outcome == "lost":
        return EventKind.LOST_LEASE
    if lease.outcome == "failed":
        return EventKind.FAILED_LEASE
    if lease.unasked:
        return EventKind.INTERRUPTION
    lasted = lease.closed_ns - lease.opened_ns
    return EventKind.SERVED_LEASE if lasted >= SERVED_SECONDS_MIN * NS else None


def of_outage(from_ns: int, until_ns: int, windows: Sequence[Window]) -> Event:
    """A silence counts by its seconds, those of announced maintenance left out."""
    whole = (until_ns - from_ns) // NS
    excused = excused_seconds(windows, from_ns, until_ns)
    said = f"silent for {whole} s"
    if excused:
        said += f", {excused} s of it in announced maintenance"
    return Event(until_ns, EventKind.OUTAGE, str(from_ns), max(0, whole - excused), said)
