"""Pure: what the past says of a place. How likely an attempt fails there, how long a boot takes.

Counts fade with a half-life of a week. Each level of (cloud; its GPU; the region; the host) leans
on the one above as if that had been seen ``STRENGTH`` times (additive smoothing, after Laplace):

    chance(level) = (failures + STRENGTH * chance(level above)) / (attempts + STRENGTH)

and the same for the mean boot time. A place without a past is as good as what it is part of.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from brain.offers.core.breaker import ANY, Outcome, OutcomeKind, Scope
from kernel.clock import NS

MILLION = 1_000_000
HALF_LIFE_NS = 7 * 86_400 * NS
STRENGTH = 5
FAILURE_PPM = 50_000  # of an attempt at a cloud of which nothing is known
SPOT_LOSS_PPM = 100_000  # that spot is taken away before its work ends
BOOT_SECONDS = 180  # where neither the cloud nor the past tells
FAILURES = frozenset(
    {
        OutcomeKind.NO_CAPACITY,
        OutcomeKind.REFUSED,
        OutcomeKind.BOOT_FAILED,
        OutcomeKind.BOOT_SLOW,
    }
)


@dataclass(frozen=True, slots=True)
class Tally:
    """Faded counts, in millionths; ``boot_seconds`` is a sum over ``boots``."""

    served: int = 0
    failed: int = 0
    interrupted: int = 0
    boots: int = 0
    boot_seconds: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def faded(self, elapsed_ns: int) -> Tally:
        factor = 0.5 ** (max(0, elapsed_ns) / HALF_LIFE_NS)
        return Tally(*(int(getattr(self, f.name) * factor) for f in fields(self)))


def counted(outcome: Outcome) -> Tally:
    """One outcome as counts; zero for what says nothing of the place."""
    boots = boot_seconds = 0
    if outcome.boot_seconds is not None:
        boots, boot_seconds = MILLION, min(max(0, outcome.boot_seconds), 86_400) * MILLION
    return Tally(
        served=MILLION * (outcome.kind is OutcomeKind.SERVED),
        failed=MILLION * (outcome.kind in FAILURES),
        interrupted=MILLION * (outcome.kind is OutcomeKind.INTERRUPTED),
        boots=boots,
        boot_seconds=boot_seconds,
    )


@dataclass(frozen=True, slots=True)
class Prospect:
    """What to expect of an attempt at a place."""

    failure_ppm: int  # it does not get to serve
    loss_ppm: int  # it is taken away while it serves
    boot_seconds: int


class History:
    """Tallies of places, summed for all that they are part of."""

    def __init__(self, tallies: Iterable[tuple[Scope, Tally]]) -> None:
        self._sums: dict[Scope, Tally] = {}
        for place, tally in tallies:
            for level in dict.fromkeys(_levels(place)):
                self._sums[level] = self._sums.get(level, Tally()) + tally
        self._known: dict[tuple[Scope, bool, int | None], Prospect] = {}

    def prospect(self, place: Scope, *, spot: bool, boot_told: int | None) -> Prospect:
        """``boot_told``: what the cloud itself says of the boot, in seconds."""
        asked = (Scope(place.cloud, place.region, place.gpu_name, place.host), spot, boot_told)
        known = self._known.get(asked)
        if known is None:
            known = self._known[asked] = self._reckon(place, spot, boot_told)
        return known

    def _reckon(self, place: Scope, spot: bool, boot_told: int | None) -> Prospect:
        failure, loss = FAILURE_PPM, SPOT_LOSS_PPM if spot else 0
        boot = (BOOT_SECONDS if boot_told is None else boot_told) * MILLION
        for level in _levels(place):
            tally = self._sums.get(level)
            if tally is None:
                continue
            failure = _leaning(tally.failed, tally.served + tally.failed, failure)
            loss = _leaning(tally.interrupted, tally.served, loss)
            boot = _leaning(tally.boot_seconds, tally.boots, boot)
        return Prospect(failure, loss, boot // MILLION)


def _levels(place: Scope) -> tuple[Scope, ...]:
    """From the cloud down to the host; a place whose host is not known ends at its region."""
    cloud, region, gpu = place.cloud, place.region, place.gpu_name
    above = (Scope(cloud), Scope(cloud, gpu_name=gpu), Scope(cloud, region, gpu))
    return (*above, Scope(cloud, region, gpu, place.host)) if place.host not in ("", ANY) else above


def _leaning(part: int, whole: int, above: int) -> int:
    """``part`` of ``whole``, in millionths, leaning on the level ``above``."""
    return (part + STRENGTH * above) * MILLION // (max(whole, 1) + STRENGTH * MILLION)
