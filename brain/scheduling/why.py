"""Why an offer was taken and the others were not: for all of them, or for those worth reading.

``explain`` writes a text for each offer. ``why`` looks at all but writes for few: a shelf is
asked once for what its offers share, and the rest is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import nsmallest
from operator import itemgetter

from brain.scheduling import scores
from brain.scheduling.filters import FILTERS, KIND_FILTERS, OFFER_FILTERS, Filter, shape_on
from brain.scheduling.offer import Candidate, Offer, PlanRequest, Shape, Why
from brain.scheduling.shelves import Rank, Shelf, rank_of

KEPT = 50  # candidates that are written out
REJECTED_KEPT = 15  # of them kept free for rejected ones
REASONS_TOLD = 3


@dataclass
class _Seen:
    """What was looked at: offers that fit by score, and rejected ones by price."""

    good: list[tuple[int, Rank, Offer]] = field(default_factory=list)
    bad: list[tuple[Rank, Offer]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)  # by the name of the first filter
    like: dict[str, Offer] = field(default_factory=dict)  # one that it rejected


def why(request: PlanRequest, shelves: Iterable[Shelf], now_ns: int) -> Why:
    """The best that fit, the cheapest that do not, and how many there are of each."""
    seen = _Seen()
    for shelf in shelves:
        shape = shape_on(request, shelf.best)
        by_kind = next((f for f in KIND_FILTERS if f.rejects(request, shelf.best, now_ns)), None)
        if by_kind is not None or shape is None:
            assert by_kind is not None, "what has no shape is rejected by a filter"
            _reject(seen, by_kind, shelf.ranked)
        else:
            _sort_out(seen, request, shelf, shape, now_ns)
    bad = nsmallest(KEPT, seen.bad, key=itemgetter(0))
    good = nsmallest(KEPT - min(REJECTED_KEPT, len(bad)), seen.good, key=itemgetter(0, 1))
    candidates = [_candidate(request, offer, now_ns) for _, _, offer in good]
    candidates += [_candidate(request, offer, now_ns) for _, offer in bad[: KEPT - len(good)]]
    often = sorted(seen.counts.items(), key=lambda item: (-item[1], item[0]))[:REASONS_TOLD]
    named = {f.name: f for f in FILTERS}
    return Why(
        candidates=tuple(candidates),
        offers=len(seen.good) + sum(seen.counts.values()),
        fitting=len(seen.good),
        often=tuple(
            (named[name].why(request, seen.like[name], now_ns), count) for name, count in often
        ),
    )


def _sort_out(seen: _Seen, request: PlanRequest, shelf: Shelf, shape: Shape, now_ns: int) -> None:
    for one in shelf.ranked:
        rank, offer = one
        rejecting = next((f for f in OFFER_FILTERS if f.rejects(request, offer, now_ns)), None)
        if rejecting is None:
            seen.good.append((scores.score(request, offer, shape.gpus), rank, offer))
        else:
            _reject(seen, rejecting, (one,))


def _reject(seen: _Seen, by: Filter, ranked: tuple[tuple[Rank, Offer], ...]) -> None:
    seen.bad += ranked[:KEPT]
    seen.counts[by.name] = seen.counts.get(by.name, 0) + len(ranked)
    known = seen.like.get(by.name)
    if known is None or ranked[0][0] < rank_of(known):
        seen.like[by.name] = ranked[0][1]


def explain(request: PlanRequest, offers: Iterable[Offer], now_ns: int) -> tuple[Candidate, ...]:
    """Every offer with its reasons: those that fit by score, then the rejected by price."""
    good: list[tuple[int, Rank, Candidate]] = []
    bad: list[tuple[Rank, Candidate]] = []
    for offer in offers:
        candidate = _candidate(request, offer, now_ns)
        if candidate.score is None:
            bad.append((rank_of(offer), candidate))
        else:
            good.append((candidate.score, rank_of(offer), candidate))
    good.sort(key=itemgetter(0, 1))
    bad.sort(key=itemgetter(0))
    return (*(entry[2] for entry in good), *(entry[1] for entry in bad))


def _candidate(request: PlanRequest, offer: Offer, now_ns: int) -> Candidate:
    reasons = tuple(
        f.why(request, offer, now_ns) for f in FILTERS if f.rejects(request, offer, now_ns)
    )
    shape = shape_on(request, offer)
    if reasons or shape is None:
        return Candidate(offer, False, 0, None, reasons)
    worth = scores.cost(request, offer, shape.gpus)
    said = scores.sentences(request, offer, shape.gpus, worth, now_ns)
    return Candidate(offer, True, shape.gpus, worth.score, said)
