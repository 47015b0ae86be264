"""Decisions over 10,000 and 100,000 offers, committed claims by eight schedulers at once, and the
cost of plans beside the optimum."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random
from statistics import median
from time import perf_counter

from sqlalchemy import text

from bench.figure import Figure
from bench.fleet_rows import add_nodes, system_ctx
from bench.optimum import over_optimum
from brain import fleet, migrate
from brain.fleet import Claim
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Ctx
from brain.scheduling import Board, Offer, PlanRequest, Shape
from kernel.clock import NS
from kernel.errors import NoCapacity
from kernel.ids import DeploymentId, NodeId, ReplicaId
from kernel.wire.agent import LaunchSpec

OFFERS = (10_000, 100_000)
CASES = 200
ROUNDS = 3
ROUND_SECONDS = 1.0
SCHEDULERS = 8
NODES = 250
GPUS = 8
NOW = 1_000 * NS
KINDS = (
    ("NVIDIA T4", 15_360, 190),
    ("NVIDIA L4", 23_034, 430),
    ("NVIDIA GeForce RTX 4090", 24_564, 390),
    ("NVIDIA L40S", 46_068, 790),
    ("NVIDIA A100 80GB", 81_920, 1_190),
    ("NVIDIA H100 80GB HBM3", 81_559, 2_190),
)
LAUNCH = LaunchSpec(engine="standin", image="standin", arguments=[])


async def figures(url: str, redis_url: str) -> list[Figure]:
    """Prints nothing; every round works on fresh rows of the database at ``url``."""
    await migrate.upgrade(url)
    found = []
    for count in OFFERS:
        per_s = median([decisions_per_s(Random(seed), count) for seed in range(ROUNDS)])
        found.append(Figure(f"planner_decisions_per_s_{count // 1000}k", per_s, "1/s"))
    over = over_optimum(range(CASES))  # a request that found no place counts as twice the cost
    found.append(Figure("plan_cost_over_optimum_percent", over.percent + 100 * over.lost, "%"))
    ctx = system_ctx(url, pool_size=SCHEDULERS)
    try:
        rates = [await claims_per_s(ctx, seed) for seed in range(ROUNDS)]
        doubled = await double_claims(ctx)
    finally:
        await ctx.db.close()
    found.append(Figure("claims_per_s", median(rates), "1/s"))
    found.append(Figure("double_claims", doubled, "claims"))
    return found


def random_offers(chance: Random, count: int) -> list[Offer]:
    """A busy market: half of the GPUs are held, some nodes are stale or withheld."""
    made = []
    for number in range(count):
        name, vram_mib, price = chance.choice(KINDS)
        total = chance.choice([1, 2, 4, 8])
        made.append(
            Offer(
                node_id=NodeId(f"node_{number:032x}"),
                gpu_name=name,
                vram_mib=vram_mib,
                free=chance.randint(0, total),
                total=total,
                price_nano=price * 1_000_000 * chance.randint(80, 140) // 100,
                seen_ns=NOW - chance.randint(0, 30) * NS,
                region=chance.choice(["eu", "us", "ap"]),
                spot=chance.random() < 0.2,
                reliability_ppm=chance.randint(930_000, 1_000_000),
                cold_start_seconds=chance.randint(20, 300),
                withheld="It fell silent." if chance.random() < 0.02 else "",
            )
        )
    return made


def random_requests(chance: Random, count: int) -> list[PlanRequest]:
    return [
        PlanRequest(
            shapes=chance.choice(
                [
                    (Shape(1, 16_000),),
                    (Shape(1, 40_000), Shape(2, 22_000)),
                    (Shape(2, 80_000), Shape(4, 44_000)),
                    (Shape(8, 80_000),),
                ]
            ),
            regions=frozenset(chance.sample(["eu", "us", "ap"], chance.randint(0, 2))),
            price_nano_max=chance.choice([None, 2_500_000_000]),
            spot=chance.random() < 0.3,
            reliability_ppm_min=chance.choice([0, 980_000]),
            seconds=chance.choice([600, 3600, 86_400]),
        )
        for _ in range(count)
    ]


def decisions_per_s(chance: Random, offers: int) -> float:
    """Whole decisions with their reasons at hand; texts are written when someone reads them."""
    board = Board(random_offers(chance, offers))
    requests = random_requests(chance, 500)
    done, start = 0, perf_counter()
    while perf_counter() - start < ROUND_SECONDS:
        for request in requests:
            board.plan(request, NOW)
        done += len(requests)
    return done / (perf_counter() - start)


async def claims_per_s(ctx: Ctx, seed: int) -> float:
    """Eight schedulers on fresh nodes, one GPU a claim, until nine in ten GPUs are held. What
    loses a race looks elsewhere, and its time counts."""
    nodes = await add_nodes(ctx, NODES, gpus=GPUS)
    left = [NODES * GPUS * 9 // 10]
    start = perf_counter()
    runs = [_scheduler(ctx, nodes, Random(f"{seed}/{n}"), left) for n in range(SCHEDULERS)]
    won = sum(await asyncio.gather(*runs))
    return won / (perf_counter() - start)


async def _scheduler(ctx: Ctx, nodes: list[NodeId], chance: Random, left: list[int]) -> int:
    won = 0
    while left[0] > 0:
        wanted = Claim(
            replica_id=ctx.ids.new(ReplicaId),
            deployment_id=ctx.ids.new(DeploymentId),
            node_id=chance.choice(nodes),
            gpu_count=1,
            launch=LAUNCH,
            payer=PLATFORM_ACCOUNT,
            mode="pool",
        )
        with suppress(NoCapacity):
            async with ctx.db.begin() as tx:
                await fleet.claim(tx, wanted, now_ns=ctx.clock.now_ns(), ids=ctx.ids)
            won += 1
            left[0] -= 1
    return won


async def double_claims(ctx: Ctx) -> float:
    async with ctx.db.begin() as tx:
        found = await tx.scalar(
            text(
                "SELECT coalesce(sum(held - 1), 0) FROM (SELECT count(*) AS held FROM lease_gpu"
                " WHERE live GROUP BY gpu_uuid HAVING count(*) > 1) doubled"
            )
        )
    return float(found or 0)
