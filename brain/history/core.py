"""Pure: what is measured, how measurements fold into buckets of time, and which step is shown.

A fold keeps the number of readings, their sum and their bounds, all integers: folds of folds are
the folds of the readings themselves, in any order and grouping.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kernel.errors import BadInput
from kernel.wire.agent import Span

SLOTS: Final = 5  # measurements of one series, and so columns of a row
INT_MAX: Final = 2**31 - 1  # of a low or high; a sum is kept in 64 bits
N_MAX: Final = 1_000_000
POINTS_MAX: Final = 1000
POINTS_WANTED: Final = 240  # where the caller names no step

TEN_SECONDS, MINUTE_S, HOUR_S, DAY_S = 10, 60, 3600, 86_400
STEPS: Final = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, DAY_S, 7 * DAY_S)


class Kind(StrEnum):
    GPU = "gpu"
    WORKER = "worker"  # a lease's worker, by its own gauges and counters
    NODE = "node"


@dataclass(frozen=True)
class Metric:
    """``divisor``: what the kept integer is divided by to give ``unit``."""

    name: str
    unit: str
    divisor: int = 1


METRICS: Final[dict[Kind, tuple[Metric, ...]]] = {
    Kind.GPU: (
        Metric("utilisation_percent", "%"),
        Metric("memory_used_mib", "MiB"),
        Metric("power_watts", "W", 1000),
        Metric("temperature_c", "C"),
        Metric("sm_clock_mhz", "MHz"),
    ),
    Kind.WORKER: (
        Metric("requests_running", "requests", 1000),
        Metric("requests_waiting", "requests", 1000),
        Metric("kv_cache_usage_percent", "%", 10_000),
        Metric("prompt_tokens_per_second", "tokens/s", 1000),
        Metric("generation_tokens_per_second", "tokens/s", 1000),
    ),
    Kind.NODE: (
        Metric("cpu_percent", "%", 1000),
        Metric("memory_used_mib", "MiB"),
        Metric("net_rx_kib_s", "KiB/s"),
        Metric("net_tx_kib_s", "KiB/s"),
        Metric("disk_free_mib", "MiB"),
    ),
}


@dataclass(frozen=True)
class Fold:
    """``n`` readings: sum, lowest, highest. ``n`` 0: none, and the rest is 0."""

    n: int = 0
    total: int = 0
    low: int = 0
    high: int = 0

    def __add__(self, other: Fold) -> Fold:
        if not self.n or not other.n:
            return other if not self.n else self
        return Fold(
            self.n + other.n,
            self.total + other.total,
            min(self.low, other.low),
            max(self.high, other.high),
        )

    @property
    def mean(self) -> int | None:
        """The nearest integer, halves upward."""
        return None if not self.n else (2 * self.total + self.n) // (2 * self.n)


NONE: Final = Fold()


def fold(values: Iterable[int]) -> Fold:
    found = list(values)
    return Fold(len(found), sum(found), min(found), max(found)) if found else NONE


Numbers = tuple[int, int, int, int]  # a fold's total, n, low, high: plain, as beats are many
NO_NUMBERS: Final[Numbers] = (0, 0, 0, 0)


def of_span(span: Span | None) -> Numbers:
    """What an agent told. What cannot be is none: it is a stranger's word, kept in our columns."""
    if span is None:
        return NO_NUMBERS
    n, total, low, high = span.n, span.total, span.low, span.high
    if 1 <= n <= N_MAX and 0 <= low <= high <= INT_MAX and n * low <= total <= n * high:
        return total, n, low, high
    return NO_NUMBERS


def of_value(value: float | None, factor: int = 1) -> Numbers:
    """One reading, as the integer that is kept; none where it is not a number that can be."""
    if value is None or not 0 <= value * factor <= INT_MAX:
        return NO_NUMBERS
    whole = round(value * factor)
    return whole, 1, whole, whole


def row_of(series: int, at_s: int, slots: Sequence[Numbers]) -> tuple[int, ...] | None:
    """A row in the order of its columns (totals first); None when nothing was measured."""
    totals, counts, lows, highs = zip(*slots, strict=True)
    return (series, at_s, *totals, *counts, *lows, *highs) if any(counts) else None


def rolled(rows: Iterable[tuple[int, Fold]], step_s: int) -> dict[int, Fold]:
    """Folds by the start of their bucket: what the roll-up's SQL does, said in Python."""
    found: dict[int, Fold] = {}
    for at_s, one in rows:
        start = at_s - at_s % step_s
        found[start] = found.get(start, NONE) + one
    return found


def series_of(kind: Kind, *names: str) -> int:
    """The number of a series: the same in every process, with no table to look it up in.

    64 bits of a digest: among a million series, two alike have a chance of 1 to 37 million.
    """
    text = "\n".join((kind.value, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


@dataclass(frozen=True)
class Window:
    """Buckets of ``step_s`` from ``from_s`` up to but without ``until_s``, whole buckets only.

    ``base_s``: the length of the kept buckets that they are made of.
    """

    from_s: int
    until_s: int
    step_s: int
    base_s: int

    @property
    def starts(self) -> range:
        return range(self.from_s, self.until_s, self.step_s)


@dataclass(frozen=True)
class Kept:
    """For how long buckets of each length are kept."""

    raw_s: int = 2 * HOUR_S
    minute_s: int = 7 * DAY_S
    hour_s: int = 396 * DAY_S  # thirteen months


KEPT: Final = Kept()


def window(from_s: int, until_s: int, step_s: int | None, now_s: int, kept: Kept = KEPT) -> Window:
    """The buckets to show. Raises ``BadInput``, which says what to ask instead."""
    if from_s >= until_s:
        raise BadInput("'from' must be before 'to'.", param="from")
    if until_s - from_s > kept.hour_s or from_s < now_s - kept.hour_s:
        raise BadInput(f"History goes back {kept.hour_s // DAY_S} days.", param="from")
    base = _base(from_s, now_s, kept)
    if step_s is None:
        step_s = _step(until_s - from_s, base)
    elif step_s < base or step_s % base:
        raise BadInput(
            f"For a window that begins this long ago 'step' must be a multiple of {base} seconds.",
            param="step",
        )
    first = from_s - from_s % step_s
    last = -(-until_s // step_s) * step_s
    if (points := (last - first) // step_s) > POINTS_MAX:
        least = next(s for s in (*STEPS, 31 * DAY_S) if (until_s - from_s) // s < POINTS_MAX - 1)
        raise BadInput(
            f"That is {points:,} points, at most {POINTS_MAX:,} are shown:"
            f" ask for a step of {max(least, base)} seconds or more.",
            param="step",
        )
    return Window(first, last, step_s, base)


def _base(from_s: int, now_s: int, kept: Kept) -> int:
    age = now_s - from_s
    if age <= kept.raw_s:
        return TEN_SECONDS
    return MINUTE_S if age <= kept.minute_s else HOUR_S


def _step(length_s: int, base_s: int) -> int:
    able = [s for s in STEPS if s % base_s == 0]
    return next((s for s in able if length_s <= s * POINTS_WANTED), able[-1])


def shown(folds: Sequence[Fold], metric: Metric) -> tuple[list[float | None], ...]:
    """Means, lows and highs in the metric's unit; None where nothing was measured."""

    def units(value: int | None) -> float | None:
        if value is None:
            return None
        return value if metric.divisor == 1 else value / metric.divisor

    means = [units(one.mean) for one in folds]
    lows = [units(one.low if one.n else None) for one in folds]
    highs = [units(one.high if one.n else None) for one in folds]
    return means, lows, highs
