"""GPU time by processor sharing: pure, integer, O(1) an event.

A lease has ``gpus`` GPUs. While the residents' weights sum to W > 0, virtual time V runs at
``dV = gpus * dt / W``; a request with weight w resident on [a, d) gets ``w * (V(d) - V(a))``.
V counts ticks of 2**-20 GPU-ns. On each event ``q, rem = divmod(dt * gpus * 2**20 + rem, W)``;
at each change of W the remainder goes to ``rounding``, so V is always a floor and

    settled + open + remainder + rounding == busy        (exactly, after every event).

Used by the gateway (its own upper bound), by settlement, and by a customer's receipt check.
Processor sharing: Kleinrock, "Time-shared systems: a theoretical treatment", JACM 14 (1967).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from kernel.money import TICKS_PER_GPU_NS


@dataclass
class Sharing:
    """The live state of one lease's busy time. Times are ns on one clock, never going back."""

    gpus: int
    now_ns: int
    virtual: int = 0
    remainder: int = 0
    rounding: int = 0
    settled: int = 0
    busy: int = 0
    weight: int = 0
    residents: dict[str, tuple[int, int]] = field(default_factory=dict)

    def advance(self, at_ns: int) -> None:
        """Let time run to ``at_ns``; an earlier time counts as now."""
        span = at_ns - self.now_ns
        if span <= 0:
            return
        self.now_ns = at_ns
        if self.weight:
            ticks = span * self.gpus * TICKS_PER_GPU_NS
            self.busy += ticks
            step, self.remainder = divmod(ticks + self.remainder, self.weight)
            self.virtual += step

    def enter(self, key: str, at_ns: int, weight: int = 1) -> None:
        """A request becomes resident. A key that is already resident is left as it is."""
        assert weight >= 1, "a weight is at least 1"
        if key in self.residents:
            return
        self.advance(at_ns)
        self._change_weight(weight)
        self.residents[key] = (self.virtual, weight)

    def leave(self, key: str, at_ns: int) -> int:
        """A request ends: its share in ticks. Zero for a key that is not resident."""
        if key not in self.residents:
            return 0
        self.advance(at_ns)
        entered, weight = self.residents.pop(key)
        share = weight * (self.virtual - entered)
        self.settled += share
        self._change_weight(-weight)
        return share

    def cut(self, key: str, at_ns: int) -> int:
        """Take a resident's share so far and let it go on from here."""
        self.advance(at_ns)
        entered, weight = self.residents[key]
        share = weight * (self.virtual - entered)
        self.residents[key] = (self.virtual, weight)
        self.settled += share
        return share

    def open_ticks(self) -> int:
        """What residents have been given and not yet settled."""
        return sum(w * (self.virtual - entered) for entered, w in self.residents.values())

    def _change_weight(self, by: int) -> None:
        self.rounding += self.remainder
        self.remainder = 0
        self.weight += by


class Span(NamedTuple):
    """Residence of one request on [start_ns, end_ns) with a weight."""

    key: str
    start_ns: int
    end_ns: int
    weight: int = 1


@dataclass(frozen=True)
class Shares:
    """What a sweep gave: ticks per key, the busy ticks they came from, and the rounding."""

    by_key: dict[str, int]
    busy: int
    rounding: int


def share_window(gpus: int, start_ns: int, end_ns: int, spans: Iterable[Span]) -> Shares:
    """Share the busy time of the window [start_ns, end_ns) among ``spans``, clipped to it.

    Exact over any number of observers: only the spans matter, not their order or who saw them.
    A key given twice counts once (the first in sorted order). Sums:
    ``sum(by_key) + rounding == busy <= gpus * (end_ns - start_ns) * 2**20``.
    """
    given = list(spans)
    if len({span.key for span in given}) < len(given):
        given = list({span.key: span for span in sorted(given, reverse=True)}.values())
    events: list[tuple[int, int, str, int]] = []
    for key, begun, ended, weight in given:
        assert weight >= 1, "a weight is at least 1"
        start, end = max(begun, start_ns), min(ended, end_ns)
        if end > start:
            events.append((start, 1, key, weight))
            events.append((end, 0, key, weight))
    events.sort()  # at one instant, leaving comes before entering
    return _swept(gpus * TICKS_PER_GPU_NS, events)


def _swept(ticks_per_ns: int, events: list[tuple[int, int, str, int]]) -> Shares:
    """``Sharing`` over events in order, its steps written out: settlement sweeps millions."""
    entered: dict[str, int] = {}
    by_key: dict[str, int] = {}
    now = virtual = remainder = rounding = busy = whole = 0
    for at_ns, entering, key, weight in events:
        if at_ns > now:
            if whole:
                ticks = (at_ns - now) * ticks_per_ns
                busy += ticks
                step, remainder = divmod(ticks + remainder, whole)
                virtual += step
            now = at_ns
        rounding += remainder
        remainder = 0
        if entering:
            entered[key] = virtual
            whole += weight
        else:
            by_key[key] = weight * (virtual - entered[key])
            whole -= weight
    return Shares(by_key, busy, rounding)
