"""Eight schedulers, thousands of requests, one PostgreSQL: nothing is claimed twice."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from bench.fleet_rows import add_nodes, system_ctx
from bench.schedulers import SCHEDULERS, schedule, wrongs

REQUESTS, REQUESTS_LONG = 2000, 10_000
NODES = 40


@pytest.mark.feature("F3")
@pytest.mark.slow
@pytest.mark.parametrize(
    "requests", [REQUESTS, pytest.param(REQUESTS_LONG, marks=pytest.mark.long)]
)
async def test_requests_of_eight_schedulers_claim_nothing_twice(
    database_url: str, seed: int, requests: int
) -> None:
    ctx = system_ctx(database_url, pool_size=SCHEDULERS)
    try:
        nodes = await add_nodes(ctx, NODES, gpus=8)
        runs = [
            schedule(ctx, nodes, Random(f"{seed}/{n}"), requests // SCHEDULERS)
            for n in range(SCHEDULERS)
        ]
        tallies = await asyncio.gather(*runs)
        won, lost = sum(t.won for t in tallies), sum(t.lost for t in tallies)
        assert won + lost == requests
        assert won > requests // 4, "most GPUs are held: about half find room, fewer on a busy day"
        assert lost > 0, "they got into each other's way"
        assert not await wrongs(ctx, won)
    finally:
        await ctx.db.close()
