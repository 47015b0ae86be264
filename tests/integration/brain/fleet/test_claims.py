"""Many claim at once: the database lets each GPU be held once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from random import Random

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from brain import fleet
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.errors import NoCapacity
from tests.support.fleet import Agent, Rig, brain_front

SCHEDULERS = 8


@pytest.fixture
async def rig(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Rig]:
    async with brain_front(ctx, clock, valkey_url) as made:
        yield made


async def held_twice(ctx: Ctx) -> int:
    async with ctx.db.begin() as tx:
        found = await tx.scalar(
            text(
                "SELECT count(*) FROM (SELECT gpu_uuid FROM lease_gpu WHERE live"
                " GROUP BY gpu_uuid HAVING count(*) > 1) doubled"
            )
        )
    return found or 0


async def claim_and_stop(rig: Rig, agents: list[Agent], chance: Random) -> int:
    """One scheduler: claims at random, ends some of its own again; returns how many it got."""
    won = 0
    for _ in range(12):
        try:
            lease = await rig.claim(chance.choice(agents), chance.choice([1, 1, 2, 4]))
        except NoCapacity:
            continue
        won += 1
        if chance.random() < 0.5:
            async with rig.ctx.db.begin() as tx:
                await fleet.stop_lease(tx, lease.lease_id, "chance", now_ns=rig.clock.now_ns())
    return won


@pytest.mark.feature("F3")
async def test_eight_schedulers_never_claim_a_gpu_twice(rig: Rig, seed: int) -> None:
    agents = [await rig.agent(count=8) for _ in range(3)]
    runs = [claim_and_stop(rig, agents, Random(f"{seed}/{n}")) for n in range(SCHEDULERS)]
    won = await asyncio.gather(*runs)
    assert sum(won) > 0
    assert await held_twice(rig.ctx) == 0
    offers = await fleet.offers(rig.ctx)
    async with rig.ctx.db.begin() as tx:
        held = await tx.scalar(text("SELECT sum(gpu_count) FROM lease WHERE state <> 'closed'"))
    assert sum(offer.free for offer in offers) == 24 - (held or 0)


@pytest.mark.feature("F3")
async def test_one_gpu_has_one_winner(rig: Rig) -> None:
    agent = await rig.agent()
    tries = [rig.claim(agent) for _ in range(SCHEDULERS)]
    found = await asyncio.gather(*tries, return_exceptions=True)
    lost = [one for one in found if isinstance(one, NoCapacity)]
    assert len(lost) == SCHEDULERS - 1


@pytest.mark.feature("F3")
async def test_the_index_refuses_a_second_live_holder(rig: Rig) -> None:
    agent = await rig.agent(count=2)
    first, second = await rig.claim(agent), await rig.claim(agent)
    with pytest.raises(IntegrityError):
        async with rig.ctx.db.begin() as tx:
            await tx.execute(
                text("INSERT INTO lease_gpu VALUES (:lease, :uuid, :node, 1, true)"),
                {
                    "lease": second.lease_id,
                    "uuid": first.gpu_uuids[0],
                    "node": agent.node_id,
                },
            )


async def test_a_claim_that_is_rolled_back_leaves_nothing(rig: Rig) -> None:
    agent = await rig.agent()
    before = (await agent.beat()).generation
    with pytest.raises(NoCapacity):
        await rig.claim(agent, price_nano_max=1)
    assert (await agent.beat()).generation == before
    assert [offer.free for offer in await fleet.offers(rig.ctx)] == [1]
