"""The planner: a snapshot of offers, a request and the time in; a plan with reasons out. Pure.

The board keeps offers on shelves of one kind each (all that a request can ask about except
price, age and record), in the order of their price. What a shelf shares is asked once a shelf,
and a shelf is left as soon as no dearer offer on it can win: the rent at its shortest cold start
and best record is a lower bound of the expected cost. The order of the input does not matter;
ties go to the lower price, then the lower place.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter

from brain.scheduling import scores
from brain.scheduling.filters import KIND_FILTERS, OFFER_FILTERS, shape_on
from brain.scheduling.offer import Choice, Offer, Plan, PlanRequest, Shape, Trust
from brain.scheduling.shelves import Rank, Shelf, sorted_out
from brain.scheduling.why import explain, why

Asked = tuple[tuple[Shape, ...], frozenset[str], frozenset[str], bool, bool, bool, bool, Trust]
REMEMBERED = 1000


class Board:
    """Offers ready for many decisions."""

    def __init__(self, offers: Iterable[Offer], _shelves: Iterable[Shelf] | None = None) -> None:
        self._offers = tuple(offers)
        self._shelves = tuple(sorted_out(self._offers) if _shelves is None else _shelves)
        self._fitting: dict[Asked, tuple[tuple[int, int, Shelf], ...]] = {}

    def beside(self, other: Board) -> Board:
        """The offers of both, without sorting them again. No place may be on both."""
        return Board((*self._offers, *other._offers), (*self._shelves, *other._shelves))

    @property
    def offers(self) -> tuple[Offer, ...]:
        return self._offers

    def plan(self, request: PlanRequest, now_ns: int) -> Plan:
        """The cheapest offer in expectation that no filter rejects, and why for each."""
        chosen = self._choose(request, now_ns)
        return Plan(
            chosen,
            lambda: why(request, self._shelves, now_ns),
            lambda: explain(request, self._offers, now_ns),
        )

    def _choose(self, request: PlanRequest, now_ns: int) -> Choice | None:
        best: tuple[int, Rank, Offer, int] | None = None
        for least, gpus, shelf in self._shelves_for(request, now_ns):
            if best is not None and scores.rent_of(least, request) > best[0]:
                break  # every shelf from here on is dearer
            for rank, offer in shelf.ranked:
                if best is not None and (
                    scores.bound(request, offer.price_nano, gpus, shelf.best) > best[0]
                ):
                    break
                if _rejected(request, offer, now_ns):
                    continue
                score = scores.score(request, offer, gpus)
                if best is None or (score, rank) < best[:2]:
                    best = (score, rank, offer, gpus)
        if best is None:
            return None
        _, _, offer, gpus = best
        return Choice(offer, gpus, scores.cost(request, offer, gpus))

    def _shelves_for(self, request: PlanRequest, now_ns: int) -> tuple[tuple[int, int, Shelf], ...]:
        """Shelves that hold what is asked for: (least price of the whole, GPUs, shelf), the
        cheapest first. Requests of one model ask the same again and again."""
        asked = (
            request.shapes,
            request.regions,
            request.gpu_names,
            request.spot,
            request.simulated,
            request.containers,
            request.clouds,
            request.trust_min,
        )
        known = self._fitting.get(asked)
        if known is not None:
            return known
        found = []
        for shelf in self._shelves:
            shape = shape_on(request, shelf.best)
            if shape is None or any(f.rejects(request, shelf.best, now_ns) for f in KIND_FILTERS):
                continue
            found.append((shelf.best.price_nano * shape.gpus, shape.gpus, shelf))
        found.sort(key=itemgetter(0))
        if len(self._fitting) >= REMEMBERED:
            self._fitting.clear()
        self._fitting[asked] = tuple(found)
        return self._fitting[asked]


def plan(request: PlanRequest, offers: Iterable[Offer], now_ns: int) -> Plan:
    """One decision over these offers. For many over the same offers keep a ``Board``."""
    return Board(offers).plan(request, now_ns)


def _rejected(request: PlanRequest, offer: Offer, now_ns: int) -> bool:
    return any(f.rejects(request, offer, now_ns) for f in OFFER_FILTERS)
