"""The reliability score: whole numbers that anyone can recompute from the events (docs/trust.md).

    weight(age)  1,000,000 for now, halved every 14 days, straight between the halvings
    penalty      sum of points(kind) x weight / 1,000,000, eased by the leases served:
                 x 20 / (20 + sum of weight(served lease) / 1,000,000)
    uptime       1,000,000 x (1 - weighed seconds of outages / weighed seconds of its life),
                 its life counting as 7 days at least and 180 at most
    score        uptime x 1,000,000 / (1,000,000 + penalty), in millionths, rounded down

A bad event never raises it, their order does not matter, and time heals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kernel.clock import NS

MILLION: Final = 1_000_000
DAY_SECONDS: Final = 86_400
HALF_LIFE_SECONDS: Final = 14 * DAY_SECONDS
LIFE_DAYS_MIN: Final = 7
LIFE_DAYS_MAX: Final = 180
EASE: Final = 20  # as many served leases halve what an event counts
KEPT_SECONDS: Final = LIFE_DAYS_MAX * DAY_SECONDS  # older events weigh nothing


class EventKind(StrEnum):
    OUTAGE = "outage"  # the node was silent
    LOST_LEASE = "lost_lease"  # its work was lost with it
    INTERRUPTION = "interruption"  # its work was gone without being asked to stop
    FAILED_LEASE = "failed_lease"  # its work did not start, or failed
    FAILED_CHECK = "failed_check"  # by a check that is enforced
    LATE_MAINTENANCE = "late_maintenance"  # announced later than the notice asked for
    SERVED_LEASE = "served_lease"  # ten minutes or longer, and ended as it was asked to


POINTS: Final[Mapping[EventKind, int]] = {
    EventKind.OUTAGE: 0,  # counts by its seconds
    EventKind.LOST_LEASE: 40_000,
    EventKind.INTERRUPTION: 40_000,
    EventKind.FAILED_LEASE: 10_000,
    EventKind.FAILED_CHECK: 100_000,
    EventKind.LATE_MAINTENANCE: 10_000,
    EventKind.SERVED_LEASE: 0,  # eases the others
}


@dataclass(frozen=True, order=True)
class Event:
    """``seconds``: how long an outage lasted. ``subject``: the lease, check or window."""

    at_ns: int
    kind: EventKind
    subject: str
    seconds: int = 0
    detail: str = ""


@dataclass(frozen=True)
class Line:
    """What one event counts: its weight, and its points or outage seconds after weighing."""

    event: Event
    weight_ppm: int
    counted: int


@dataclass(frozen=True)
class Score:
    """``ppm`` is the score. The rest is how it came to be."""

    ppm: int
    uptime_ppm: int
    penalty: int
    served: int  # weighed, in millionths of a lease
    life_seconds: int  # weighed
    lines: tuple[Line, ...]


def weight(age_seconds: int) -> int:
    """In millionths; never negative, never rising with age."""
    if age_seconds <= 0:
        return MILLION
    if age_seconds >= KEPT_SECONDS:
        return 0
    halvings, rest = divmod(age_seconds, HALF_LIFE_SECONDS)
    whole = MILLION >> halvings
    return whole - (whole - (whole >> 1)) * rest // HALF_LIFE_SECONDS


def life_seconds(since_ns: int, as_of_ns: int) -> int:
    """The seconds of a node's life, each day by the weight of its age."""
    days = -(-max(0, as_of_ns - since_ns) // (DAY_SECONDS * NS))
    days = min(max(days, LIFE_DAYS_MIN), LIFE_DAYS_MAX)
    return sum(DAY_SECONDS * weight(day * DAY_SECONDS) // MILLION for day in range(days))


def score(events: Iterable[Event], *, since_ns: int, as_of_ns: int) -> Score:
    """The score of a node that joined at ``since_ns``, as it stood at ``as_of_ns``."""
    lines = tuple(_line(event, as_of_ns) for event in sorted(events))
    life = life_seconds(since_ns, as_of_ns)
    out = sum(line.counted for line in lines if line.event.kind is EventKind.OUTAGE)
    uptime = max(0, MILLION - MILLION * out // life)
    served = sum(line.weight_ppm for line in lines if line.event.kind is EventKind.SERVED_LEASE)
    points = sum(line.counted for line in lines if line.event.kind is not EventKind.OUTAGE)
    penalty = points * EASE * MILLION // (EASE * MILLION + served)
    return Score(
        ppm=uptime * MILLION // (MILLION + penalty),
        uptime_ppm=uptime,
        penalty=penalty,
        served=served,
        life_seconds=life,
        lines=lines,
    )


def _line(event: Event, as_of_ns: int) -> Line:
    weighed = weight((as_of_ns - event.at_ns) // NS)
    amount = event.seconds if event.kind is EventKind.OUTAGE else POINTS[event.kind]
    return Line(event, weighed, amount * weighed // MILLION)
