"""The best that several requests can do together, found exactly: what plans are measured by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from brain.scheduling import Board, Offer, PlanRequest, Shape, plan, plan_together, scores
from brain.scheduling.filters import FILTERS, shape_on
from kernel.clock import NS
from kernel.ids import NodeId
from kernel.money import NANO

NOW = 1_000 * NS
UNPLACED = 10**15  # a request with no place counts more than any price
KINDS = (  # name, MiB, thousandths of a dollar an hour
    ("NVIDIA T4", 15_360, 190),
    ("NVIDIA L4", 23_034, 430),
    ("NVIDIA GeForce RTX 4090", 24_564, 390),
    ("NVIDIA L40S", 46_068, 790),
    ("NVIDIA A100 80GB", 81_920, 1_190),
    ("NVIDIA H100 80GB", 81_559, 2_190),
)


@dataclass(frozen=True)
class Case:
    offers: tuple[Offer, ...]
    requests: tuple[PlanRequest, ...]


def random_case(seed: int, *, offers: int = 12, requests: int = 7) -> Case:
    """A small market where places are short, so that requests get into each other's way."""
    chance = Random(seed)
    made = [
        _node(chance, n) if chance.random() < 0.5 else _machine(chance, n) for n in range(offers)
    ]
    wanted = [_request(chance) for _ in range(requests)]
    return Case(tuple(made), tuple(wanted))


def one_after_the_other(case: Case) -> tuple[int, int]:
    """What the planner does as requests come: (cost, placed)."""
    offers, cost, placed = list(case.offers), 0, 0
    for request in case.requests:
        chosen = plan(request, offers, NOW).chosen
        if chosen is None:
            cost += UNPLACED
            continue
        cost, placed = cost + chosen.cost.total_nano, placed + 1
        at = offers.index(chosen.offer)
        offers[at] = taken(chosen.offer, chosen.gpus)
    return cost, placed


@dataclass(frozen=True)
class Compared:
    """How far plans are over the optimum, and how many requests found no place that could have."""

    percent: float
    lost: int
    alone_percent: float  # one request after the other, for comparison
    alone_lost: int


def over_optimum(seeds: range) -> Compared:
    """Plans of small markets beside the optimum. Costs are compared where as many are placed."""
    sums, lost = {"best": 0, "plans": 0, "alone_best": 0, "alone": 0}, {"plans": 0, "alone": 0}
    for seed in seeds:
        case = random_case(seed)
        best, placed = optimum(case)
        plans = plan_together(Board(case.offers), case.requests, NOW)
        chosen = [made.chosen.cost.total_nano for made in plans if made.chosen is not None]
        lost["plans"] += placed - len(chosen)
        if placed == len(chosen):
            sums["best"] += best % UNPLACED
            sums["plans"] += sum(chosen)
        cost, count = one_after_the_other(case)
        lost["alone"] += placed - count
        if placed == count:
            sums["alone_best"] += best % UNPLACED
            sums["alone"] += cost % UNPLACED
    return Compared(
        percent=100 * (sums["plans"] / sums["best"] - 1),
        lost=lost["plans"],
        alone_percent=100 * (sums["alone"] / sums["alone_best"] - 1),
        alone_lost=lost["alone"],
    )


def taken(offer: Offer, gpus: int) -> Offer:
    """The offer once so many of its GPUs (a cloud: one of its machines) are held."""
    if not offer.cloud:
        return replace(offer, free=offer.free - gpus)
    assert offer.machines is not None, "the cases count their machines"
    left = offer.machines - 1
    return replace(offer, machines=left, withheld="" if left else "None of them is free now.")


def optimum(case: Case) -> tuple[int, int]:
    """The least cost of all ways to place them: (cost, placed). Branch and bound, exact."""
    options = [_options(request, case.offers) for request in case.requests]
    order = sorted(range(len(options)), key=lambda i: len(options[i]))
    rows = [options[i] for i in order]
    least = [0] * (len(rows) + 1)
    for i in reversed(range(len(rows))):
        least[i] = least[i + 1] + min((cost for cost, _, _ in rows[i]), default=UNPLACED)
    room = [o.free if not o.cloud else o.machines or 0 for o in case.offers]
    best = [one_after_the_other(case)[0]]

    def step(i: int, cost: int) -> None:
        if cost + least[i] >= best[0]:
            return
        if i == len(rows):
            best[0] = cost
            return
        for more, at, units in rows[i]:
            if room[at] >= units:
                room[at] -= units
                step(i + 1, cost + more)
                room[at] += units
        step(i + 1, cost + UNPLACED)

    step(0, 0)
    return best[0], len(rows) - best[0] // UNPLACED


def _options(request: PlanRequest, offers: Sequence[Offer]) -> list[tuple[int, int, int]]:
    """(cost, which offer, units of its room), the cheapest first."""
    found = []
    for at, offer in enumerate(offers):
        shape = shape_on(request, offer)
        if shape is not None and not any(f.rejects(request, offer, NOW) for f in FILTERS):
            units = 1 if offer.cloud else shape.gpus
            found.append((scores.total(request, offer, shape.gpus), at, units))
    return sorted(found)


def _node(chance: Random, number: int) -> Offer:
    name, vram_mib, price = chance.choice(KINDS)
    total = chance.choice([1, 2, 4, 8])
    return Offer(
        node_id=NodeId(f"node_{number:032x}"),
        gpu_name=name,
        vram_mib=vram_mib,
        free=chance.randint(0, total),
        total=total,
        price_nano=price * 1_000_000 * chance.randint(80, 140) // 100,
        seen_ns=NOW - NS,
        reliability_ppm=chance.randint(970_000, 1_000_000),
        cold_start_seconds=chance.randint(20, 120),
    )


def _machine(chance: Random, number: int) -> Offer:
    name, vram_mib, price = chance.choice(KINDS)
    gpus = chance.choice([1, 1, 2, 4, 8])
    return Offer(
        node_id=None,
        gpu_name=name,
        vram_mib=vram_mib,
        free=gpus,
        total=gpus,
        price_nano=price * 1_200_000 * chance.randint(80, 160) // 100,
        seen_ns=NOW - 20 * NS,
        cloud="cloud",
        offer_key=f"{number:04}",
        machines=chance.randint(1, 3),
        reliability_ppm=chance.randint(950_000, 1_000_000),
        failure_ppm=chance.randint(0, 200_000),
        cold_start_seconds=chance.randint(60, 400),
    )


def _request(chance: Random) -> PlanRequest:
    shapes = chance.choice(
        [
            (Shape(1, 15_000),),
            (Shape(1, 22_000),),
            (Shape(1, 40_000), Shape(2, 22_000)),
            (Shape(1, 80_000), Shape(2, 44_000), Shape(4, 22_000)),
        ]
    )
    return PlanRequest(
        shapes=shapes,
        price_nano_max=chance.choice([None, None, 2 * NANO]),
        seconds=chance.choice([3600, 86_400]),
    )
