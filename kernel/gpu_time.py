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

from collections.abc import Iterable, Sequence
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
    inside = [
        Span(key, max(begun, start_ns), min(ended, end_ns), weight)
        for key, begun, ended, weight in given
        if min(ended, end_ns) > max(begun, start_ns)
    ]
    swept = sweep(
        gpus, [s.start_ns for s in inside], [s.end_ns for s in inside], [s.weight for s in inside]
    )
    by_key = dict(zip([span.key for span in inside], swept.ticks, strict=True))
    return Shares(by_key, swept.busy, swept.rounding)


class Swept(NamedTuple):
    """As ``Shares``, in the order in which the residences were given."""

    ticks: list[int]
    busy: int
    rounding: int


def sweep(
    gpus: int, starts_ns: Sequence[int], ends_ns: Sequence[int], weights: Sequence[int]
) -> Swept:
    """``Sharing`` over residences that each have a length, its steps written out and its events
    plain numbers (time, entering or leaving, which): settlement sweeps millions."""
    assert min(weights, default=1) >= 1, "a weight is at least 1"
    base, bits = min(starts_ns, default=0), len(starts_ns).bit_length()
    events = [((at - base) << 1 | 1) << bits | n for n, at in enumerate(starts_ns)]
    # At one instant, leaving comes before entering.
    events += [(at - base) << bits + 1 | n for n, at in enumerate(ends_ns)]
    events.sort()
    ticks_per_ns, which = gpus * TICKS_PER_GPU_NS, (1 << bits) - 1
    shares = [0] * len(starts_ns)  # of a resident: what V was when it entered
    now = virtual = rounding = busy = whole = 0
    for event in events:
        n, at = event & which, event >> bits
        at_ns = at >> 1
        if at_ns > now:
            if whole:
                ticks = (at_ns - now) * ticks_per_ns
                busy += ticks
                step, rest = divmod(ticks, whole)
                virtual += step
                rounding += rest  # W changes now: what is left is nobody's
            now = at_ns
        if at & 1:
            shares[n] = virtual
            whole += weights[n]
        else:
            shares[n] = weights[n] * (virtual - shares[n])
            whole -= weights[n]
    return Swept(shares, busy, rounding)
