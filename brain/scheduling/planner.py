"""The planner: a snapshot of offers, a request and the time in; a plan with reasons out. Pure.

The board keeps offers in the order of their price. A decision walks from the cheapest and stops
as soon as no dearer offer can win: an offer's rent alone is a lower bound of its expected cost.
The order of the input does not matter; ties go to the lower node id, then the GPU's name.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator

from brain.scheduling import scores
from brain.scheduling.filters import FILTERS, Filter, shape_on
from brain.scheduling.offer import Candidate, Choice, Offer, Plan, PlanRequest

Rank = tuple[int, str, str, int, bool]  # price, then what breaks a tie


class Board:
    """Offers ready for many decisions. Kept apart by (memory, free GPUs), in price order."""

    def __init__(self, offers: Iterable[Offer]) -> None:
        self._offers = tuple(offers)
        shelves: dict[tuple[int, int], list[tuple[Rank, Offer]]] = defaultdict(list)
        for offer in self._offers:
            shelves[(offer.vram_mib, offer.free)].append((_rank(offer), offer))
        for shelf in shelves.values():
            shelf.sort(key=lambda ranked: ranked[0])
        self._shelves = dict(shelves)

    def plan(self, request: PlanRequest, now_ns: int) -> Plan:
        """The cheapest offer in expectation that no filter rejects, and why for each."""
        chosen = self._choose(request, now_ns)
        return Plan(chosen, lambda: explain(request, self._offers, now_ns))

    def _choose(self, request: PlanRequest, now_ns: int) -> Choice | None:
        gpus_least = min(shape.gpus for shape in request.shapes)
        best: Choice | None = None
        best_key: tuple[int, Rank] | None = None
        for rank, offer in self._cheapest_first(request):
            if best_key is not None:
                bound = scores.rent(request, offer, gpus_least)
                if bound > best_key[0]:
                    break
            shape = shape_on(request, offer)
            if shape is None or _rejected(request, offer, now_ns):
                continue
            cost = scores.cost(request, offer, shape.gpus)
            key = (cost.total_nano, rank)
            if best_key is None or key < best_key:
                best, best_key = Choice(offer, shape.gpus, cost), key
        return best

    def _cheapest_first(self, request: PlanRequest) -> Iterator[tuple[Rank, Offer]]:
        """Offers that could hold some shape, by price, over all shelves at once."""
        fitting = [
            shelf
            for (vram_mib, free), shelf in self._shelves.items()
            if any(s.vram_mib <= vram_mib and s.gpus <= free for s in request.shapes)
        ]
        if len(fitting) == 1:
            return iter(fitting[0])
        return heapq.merge(*fitting, key=lambda ranked: ranked[0])


def plan(request: PlanRequest, offers: Iterable[Offer], now_ns: int) -> Plan:
    """One decision over these offers. For many over the same offers keep a ``Board``."""
    return Board(offers).plan(request, now_ns)


def explain(request: PlanRequest, offers: Iterable[Offer], now_ns: int) -> tuple[Candidate, ...]:
    """Every offer with its reasons: those that fit by cost, then the rejected by node."""
    good: list[tuple[int, Rank, Candidate]] = []
    bad: list[tuple[str, Rank, Candidate]] = []
    for offer in offers:
        reasons = tuple(f.why(request, offer, now_ns) for f in _rejecting(request, offer, now_ns))
        shape = shape_on(request, offer)
        if reasons or shape is None:
            bad.append((offer.node_id, _rank(offer), Candidate(offer, False, 0, None, reasons)))
            continue
        worth = scores.cost(request, offer, shape.gpus)
        said = scores.sentences(request, offer, shape.gpus, worth)
        candidate = Candidate(offer, True, shape.gpus, worth.total_nano, said)
        good.append((worth.total_nano, _rank(offer), candidate))
    good.sort(key=lambda entry: entry[:2])
    bad.sort(key=lambda entry: entry[:2])
    return tuple(entry[2] for entry in (*good, *bad))


def _rank(offer: Offer) -> Rank:
    return (offer.price_nano, offer.node_id, offer.gpu_name, offer.vram_mib, offer.simulated)


def _rejected(request: PlanRequest, offer: Offer, now_ns: int) -> bool:
    return any(f.rejects(request, offer, now_ns) for f in FILTERS)


def _rejecting(request: PlanRequest, offer: Offer, now_ns: int) -> list[Filter]:
    return [f for f in FILTERS if f.rejects(request, offer, now_ns)]
