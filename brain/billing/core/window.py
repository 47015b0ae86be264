"""Settlement of one lease's closed windows: who had which share of the GPU time. Pure.

A piece is a segment as the meter holds it: ``[open_ns, end_ns)`` is what no posted window has
seen. Windows are posted in order up to ``settled_ns`` and never opened again, so what lies before
that is late: only the GPU time that it adds to the busy time is booked, and to nobody. A window
waits for evidence of life that covers it (or for the lease's end), so that nothing is charged
which turns out to be lost.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from brain.billing.core.lease import Lease
from kernel.gpu_time import sweep
from kernel.ids import AccountId
from kernel.money import TICKS_PER_GPU_NS
from kernel.wire.gateway import SegmentEnd

Interval = tuple[int, int]


class Piece(NamedTuple):
    """A segment that waits. A tuple: settlement makes one for each of very many rows."""

    key: str
    account: AccountId
    request: str
    attempt: int
    start_ns: int
    end_ns: int
    open_ns: int
    weight: int
    final: bool  # nothing of this attempt comes after it
    alive: bool  # the worker answered to the end: evidence of life
    failed: bool  # see ``refunded``
    slice_id: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    tokens_estimated: bool = False  # so much was counted; there may be more
    lone: bool = False  # its attempt has no other piece, and nothing of it is posted


def refunded(end: str, status: int) -> bool:
    """Did an attempt that ended so fail by the worker's or the platform's doing? Whatever status
    it bears (a worker may die after a good head, or before any), unless the worker refused the
    client's input. Too many requests (429) is about our worker, not about the input."""
    refused = 400 <= status < 500 and status != 429
    return end == SegmentEnd.FAILED and not refused


@dataclass(frozen=True)
class Window:
    """What a closed window gave: ticks of each piece, in whole and clipped to the lease."""

    start_ns: int
    end_ns: int
    busy_ns: int
    busy_drain_ns: int
    lived: list[Piece]
    ticks: list[int]  # of each that lived in it
    ended: list[Piece]  # finals that lie in this window


@dataclass(slots=True)
class Folding:
    """What one settlement adds to a segment's row."""

    open_ns: int
    ticks: int = 0
    late_until_ns: int | None = None  # before this it was late; from there on, in windows
    late_ticks: int = 0
    outside_ns: int = 0


@dataclass
class Settlement:
    """``late_ready_ns`` and ``late_drain_ns`` are GPU-ns that late news added, by phase."""

    settled_ns: int
    evidence_ns: int
    windows: list[Window] = field(default_factory=list)
    foldings: dict[str, Folding] = field(default_factory=dict)
    late_finals: list[Piece] = field(default_factory=list)
    late_ready_ns: int = 0
    late_drain_ns: int = 0


def bounds(lease: Lease, evidence_ns: int) -> Interval | None:
    """Where residence can count: from ready to the end of evidence. None: not known yet."""
    if lease.closed_ns is not None:
        end = min(lease.closed_ns, evidence_ns)
        return (lease.ready_ns if lease.ready_ns is not None else end, end)
    if lease.ready_ns is None:
        return None
    return (lease.ready_ns, 2**63 - 1)


def settle(
    lease: Lease,
    pieces: Sequence[Piece],
    *,
    until_ns: int,
    window_ns: int,
    accounted: Iterable[Interval] = (),
) -> Settlement:
    """Settle what is closed up to ``until_ns``. ``accounted``: residence that posted windows or
    earlier late news have seen, wherever a late piece may overlap it."""
    evidence = max([lease.evidence_ns, *(p.end_ns for p in pieces if p.alive)])
    if lease.closed_ns is not None:
        evidence = min(evidence, lease.closed_ns)
    result = Settlement(settled_ns=lease.settled_ns, evidence_ns=evidence)
    limits = bounds(lease, evidence)
    if limits is None:
        return result
    known = replace(lease, evidence_ns=evidence)
    _book_late(known, pieces, limits, list(accounted), result)
    _close_windows(known, pieces, limits, until_ns, window_ns, result)
    return result


def grid_end(at_ns: int, window_ns: int) -> int:
    """The end of the window in which ``at_ns`` lies."""
    return (at_ns // window_ns + 1) * window_ns


def first_open_end(lease: Lease, pieces: Iterable[Piece], window_ns: int) -> int:
    """The end of the first window that is not posted and in which any of these pieces lies."""
    begins = (_begins(p) for p in pieces if p.end_ns > lease.settled_ns)
    return grid_end(max(lease.settled_ns, min(begins, default=0)), window_ns)


def _book_late(
    lease: Lease, pieces: Sequence[Piece], limits: Interval, seen: list[Interval], out: Settlement
) -> None:
    covered: list[Interval] = []
    settled = lease.settled_ns
    for interval in sorted(seen):
        claim(covered, interval)
    # What ends after that and has nothing before it is not late.
    for piece in sorted(p for p in pieces if p.open_ns < settled or p.end_ns <= settled):
        late_end = min(piece.end_ns, settled)
        if piece.open_ns > late_end or (piece.open_ns == late_end and piece.end_ns > late_end):
            continue
        if lease.closed_ns is None and clipped_end(late_end, limits) > out.evidence_ns:
            continue  # not known yet whether this time was alive
        span = (max(piece.open_ns, limits[0]), min(late_end, limits[1]))
        fresh = claim(covered, span)
        new = measure(fresh)
        drain = _within(fresh, lease.draining_ns) if lease.draining_ns is not None else 0
        out.late_drain_ns += drain * lease.terms.gpus
        out.late_ready_ns += (new - drain) * lease.terms.gpus
        folding = out.foldings.setdefault(piece.key, Folding(late_end))
        folding.late_until_ns = late_end
        folding.late_ticks += new * lease.terms.gpus * TICKS_PER_GPU_NS
        folding.outside_ns += (late_end - piece.open_ns) - max(0, span[1] - span[0])
        if piece.final and piece.end_ns <= late_end:
            out.late_finals.append(piece)


def clipped_end(end_ns: int, limits: Interval) -> int:
    return min(end_ns, limits[1])


def _close_windows(
    lease: Lease,
    pieces: Sequence[Piece],
    limits: Interval,
    until_ns: int,
    window_ns: int,
    out: Settlement,
) -> None:
    waiting = [p for p in pieces if p.end_ns > lease.settled_ns]
    begins = [p.open_ns if p.open_ns < p.end_ns else p.end_ns - 1 for p in waiting]
    order = deque(sorted(range(len(waiting)), key=begins.__getitem__))
    inside: list[Piece] = []
    at, closed = lease.settled_ns, lease.closed_ns
    while inside or order:
        # Jump over windows in which nothing lies.
        first = at if inside else max(at, begins[order[0]])
        start = max(at, first // window_ns * window_ns)
        end = grid_end(start, window_ns)
        if closed is not None and start < closed < end:  # a closed lease's last window is short
            start, end = (start, closed) if first < closed else (closed, end)
        if start >= until_ns:
            break
        while order and begins[order[0]] < end:
            inside.append(waiting[order.popleft()])
        lives = min(max([p.end_ns for p in inside]), end, limits[1])
        blind = closed is None and lives > out.evidence_ns
        if end > until_ns or blind:
            out.settled_ns = max(out.settled_ns, start)
            return
        _close(lease, inside, limits, (start, end), out)
        inside = [p for p in inside if p.end_ns > end]
        at = end
    last = until_ns // window_ns * window_ns
    if closed is not None and until_ns >= closed:
        last = max(last, closed)
    out.settled_ns = max(out.settled_ns, at, last)


def _begins(piece: Piece) -> int:
    """An instant (start = end) belongs to the window that it ends."""
    return min(piece.open_ns, piece.end_ns - 1)


def _close(
    lease: Lease, inside: list[Piece], limits: Interval, window: Interval, out: Settlement
) -> None:
    start, end = window
    low, high = max(start, limits[0]), min(end, limits[1])
    foldings = out.foldings
    lived: list[Piece] = []
    given: list[Folding] = []
    firsts: list[int] = []
    lasts: list[int] = []
    for piece in inside:  # of very many: its comparisons are written out
        opened = piece.open_ns if piece.open_ns > start else start
        closed = piece.end_ns if piece.end_ns < end else end
        first = opened if opened > low else low
        last = closed if closed < high else high
        folding = foldings.get(piece.key)
        if folding is None:
            folding = foldings[piece.key] = Folding(closed)
        else:
            folding.open_ns = closed
        if last > first:
            lived.append(piece)
            given.append(folding)
            firsts.append(first)
            lasts.append(last)
            outside = closed - opened - last + first
        else:
            outside = closed - opened
        if outside:
            folding.outside_ns += outside
    shares = sweep(lease.terms.gpus, firsts, lasts, [piece.weight for piece in lived])
    for folding, ticks in zip(given, shares.ticks, strict=True):
        folding.ticks += ticks
    busy = shares.busy // TICKS_PER_GPU_NS
    drain = 0
    if lease.draining_ns is not None and lease.draining_ns < end:
        drain = _within(zip(firsts, lasts, strict=True), lease.draining_ns) * lease.terms.gpus
    ended = [p for p in inside if p.final and p.end_ns <= end]
    out.windows.append(Window(start, end, busy, drain, lived, shares.ticks, ended))


def measure(intervals: Iterable[Interval]) -> int:
    """The length of the union."""
    total, reached = 0, -1
    for start, end in sorted(i for i in intervals if i[1] > i[0]):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total


def claim(covered: list[Interval], span: Interval) -> list[Interval]:
    """Add ``span`` to the sorted, disjoint ``covered``; what of it was not covered before."""
    start, end = span
    if end <= start:
        return []
    left = bisect_left(covered, start, key=lambda i: i[1])
    right = bisect_right(covered, end, key=lambda i: i[0])
    fresh, at = [], start
    for taken in covered[left:right]:
        if taken[0] > at:
            fresh.append((at, taken[0]))
        at = max(at, taken[1])
    if end > at:
        fresh.append((at, end))
    merged = [*covered[left:right], span]
    covered[left:right] = [(min(i[0] for i in merged), max(i[1] for i in merged))]
    return fresh


def _within(intervals: Iterable[Interval], from_ns: int) -> int:
    return measure((max(start, from_ns), end) for start, end in intervals)
