"""What costs by the hour, cut at the hours of the clock and shared among keys. Pure.

Of each source a sum is known up to any moment; a row gets what that sum grew by, so rows sum to it
exactly, however often and by whom they are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kernel.clock import NS
from kernel.money import TICKS_PER_GPU_NS

HOUR_NS = 3600 * NS
MS_NS = 1_000_000
HOURS_MAX = 2000  # of one source in one look; the next look goes on
BASIS = 10_000


@dataclass(frozen=True)
class Running:
    """Something that costs by the hour. ``nano_hour`` is of all its GPUs, before ``keeps`` basis
    points of it stay with us. ``final_nano``: its whole cost, once that is certain."""

    source: str
    provider: str
    gpus: int
    nano_hour: int
    begun_ns: int
    until_ns: int
    keeps: int = 0
    final_nano: int | None = None
    done: bool = False

    def total(self, at_ns: int) -> int:
        """Its cost up to ``at_ns``."""
        span = max(0, min(at_ns, self.until_ns) - self.begun_ns)
        return self.nano_hour * span // HOUR_NS * (BASIS - self.keeps) // BASIS


@dataclass(frozen=True)
class Known:
    """What of a source is recorded."""

    until_ns: int
    nano: int


@dataclass(frozen=True)
class Stretch:
    """A part of one hour of the clock, and what it cost."""

    hour_ns: int
    from_ns: int
    until_ns: int
    nano: int


def stretches(running: Running, known: Known | None) -> Iterator[Stretch]:
    """What is not recorded yet, hour by hour. Of a source that ended the last one corrects the
    sum to what is certain, and may be below 0."""
    at = running.begun_ns if known is None else max(known.until_ns, running.begun_ns)
    told = 0 if known is None else known.nano
    for _ in range(HOURS_MAX):
        hour = at // HOUR_NS * HOUR_NS
        end = min(hour + HOUR_NS, running.until_ns)
        last = end >= running.until_ns
        total = running.total(end)
        if last and running.final_nano is not None:
            total = running.final_nano
        if end > at or total != told:
            yield Stretch(hour, at, max(end, at), total - told)
        told, at = total, max(end, at)
        if last:
            return


Who = tuple[str, str]  # an API key and its account


@dataclass(frozen=True)
class Part:
    """Of a stretch: by whom it was used; nobody (``key_id`` "") for the rest."""

    key_id: str
    account: str
    nano: int
    gpu_ms: int


def parts(stretch: Stretch, gpus: int, used: Mapping[Who, int]) -> list[Part]:
    """A stretch's cost by the GPU time (in ticks) that requests under each key had of it. What is
    left, as while nobody asked anything, is the last part. They sum to the stretch."""
    span = stretch.until_ns - stretch.from_ns
    whole = max(span * gpus * TICKS_PER_GPU_NS, sum(used.values()))
    found, nano, ms = [], stretch.nano, span * gpus // MS_NS
    for (key_id, account), ticks in sorted(used.items()):
        if not whole or not ticks:
            continue
        part = Part(
            key_id,
            account,
            stretch.nano * ticks // whole,
            span * gpus * ticks // whole // MS_NS,
        )
        found.append(part)
        nano, ms = nano - part.nano, ms - part.gpu_ms
    return [*found, Part("", "", nano, ms)]


TOLERANCE_PPM = 5000  # half a percent of what a cloud billed
CENT_NANO = 10_000_000


def agrees(billed_nano: int, recorded_nano: int) -> bool:
    """Within half a percent, or a cent where that is more: vendors round to cents."""
    allowed = max(abs(billed_nano) * TOLERANCE_PPM // 1_000_000, CENT_NANO)
    return abs(billed_nano - recorded_nano) <= allowed
