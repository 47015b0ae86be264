"""Blocks in the database: what outcomes shut, who may try first, what attempts teach."""

from __future__ import annotations

import asyncio

import pytest

from brain.offers import Market, Outcome, OutcomeKind, admit, offer, offers, record, refresh_due
from brain.plumbing import Ctx
from brain.scheduling import PlanRequest, Shape
from kernel.clock import ManualClock
from kernel.errors import NoCapacity
from kernel.money import NANO
from tests.support.told import TellingCloud, told

SCHEDULERS = 8
TOLD = (
    told("eu-1", host="h1"),
    told("eu-2", host="h2", price_nano=NANO),
    told("us-1", region="us", host="h3", price_nano=2 * NANO),
)


@pytest.fixture
async def market(ctx: Ctx) -> Market:
    await refresh_due(ctx, {"first": TellingCloud(told=list(TOLD))})
    return Market(ctx)


def outcome(kind: OutcomeKind, key: str = "eu-1", **more: object) -> Outcome:
    one = next(offer for offer in TOLD if offer.key == key)
    values = {"offer_key": key, **more}
    return Outcome("first", one.region, one.gpu_name, one.host, kind, **values)  # type: ignore[arg-type]


async def tell(ctx: Ctx, *told: Outcome) -> None:
    async with ctx.db.begin() as tx:
        for one in told:
            await record(tx, one, ctx.clock.now_ns())


async def shut(ctx: Ctx) -> list[str]:
    now_ns = ctx.clock.now_ns()
    found = await offers(ctx)
    return sorted(o.offer_key for o in found if o.withheld and now_ns < o.withheld_until_ns)


async def enter(ctx: Ctx, key: str = "eu-1") -> str:
    try:
        async with ctx.db.begin() as tx:
            return (await admit(tx, "first", key, now_ns=ctx.clock.now_ns())).key
    except NoCapacity as refused:
        return refused.detail


SHUT = [
    (OutcomeKind.NO_CAPACITY, ["eu-1"]),
    (OutcomeKind.REFUSED, ["eu-1"]),
    (OutcomeKind.BOOT_FAILED, ["eu-1"]),
    (OutcomeKind.INTERRUPTED, ["eu-1", "eu-2"]),
    (OutcomeKind.THROTTLED, ["eu-1", "eu-2", "us-1"]),
    (OutcomeKind.CREDENTIALS, ["eu-1", "eu-2", "us-1"]),
    (OutcomeKind.ABANDONED, []),
]


@pytest.mark.feature("F2")
async def test_each_outcome_shuts_the_offers_it_speaks_of(ctx: Ctx, market: Market) -> None:
    for kind, keys in SHUT:
        await tell(ctx, outcome(kind))
        assert await shut(ctx) == keys, kind
        await tell(ctx, *(outcome(OutcomeKind.SERVED, one.key) for one in TOLD))
        assert await shut(ctx) == [], "who serves clears the way"


@pytest.mark.feature("F2")
async def test_of_eight_schedulers_one_tries_first(
    ctx: Ctx, clock: ManualClock, market: Market
) -> None:
    await tell(ctx, outcome(OutcomeKind.NO_CAPACITY))
    assert await enter(ctx) == "There was no capacity. It is tried again in 30 s."
    clock.advance(30)
    answers = await asyncio.gather(*(enter(ctx) for _ in range(SCHEDULERS)))
    assert answers.count("eu-1") == 1
    assert all("One attempt tries it now" in said for said in answers if said != "eu-1")
    await tell(ctx, outcome(OutcomeKind.ACCEPTED))
    assert await enter(ctx) == "eu-1"


@pytest.mark.feature("F2")
async def test_a_probe_that_fails_rests_for_longer(
    ctx: Ctx, clock: ManualClock, market: Market
) -> None:
    await tell(ctx, outcome(OutcomeKind.NO_CAPACITY))
    clock.advance(30)
    assert await enter(ctx) == "eu-1"
    await tell(ctx, outcome(OutcomeKind.NO_CAPACITY))
    assert await enter(ctx) == "There was no capacity. It is tried again in 60 s."


@pytest.mark.feature("F2")
async def test_a_scheduler_that_dies_with_the_probe_does_not_keep_it(
    ctx: Ctx, clock: ManualClock, market: Market
) -> None:
    await tell(ctx, outcome(OutcomeKind.NO_CAPACITY))
    clock.advance(30)
    assert await enter(ctx) == "eu-1"
    clock.advance(1801)
    assert await enter(ctx) == "eu-1"


@pytest.mark.feature("F2")
async def test_what_is_gone_is_not_entered(ctx: Ctx, clock: ManualClock, market: Market) -> None:
    clock.advance(31)
    await refresh_due(ctx, {"first": TellingCloud(told=[TOLD[1]])})
    assert await enter(ctx) == "first does not offer this any more."
    async with ctx.db.begin() as tx:
        assert await offer(tx, "first", "eu-1") is None
        assert await offer(tx, "first", "eu-2") == TOLD[1]


@pytest.mark.feature("F2")
async def test_attempts_teach_how_likely_a_start_is_and_how_long_it_takes(
    ctx: Ctx, clock: ManualClock, market: Market
) -> None:
    before = {o.offer_key: o for o in await offers(ctx)}
    for _ in range(10):
        await tell(ctx, outcome(OutcomeKind.BOOT_FAILED, "eu-1"))
        await tell(ctx, outcome(OutcomeKind.SERVED, "us-1", boot_seconds=30, model="m"))
    after = {o.offer_key: o for o in await offers(ctx)}
    assert after["eu-1"].failure_ppm > before["eu-1"].failure_ppm
    assert after["eu-1"].failure_ppm > 5 * after["us-1"].failure_ppm
    assert after["us-1"].cold_start_seconds < before["us-1"].cold_start_seconds
    assert (after["us-1"].models, after["eu-1"].models) == (frozenset({"m"}), frozenset())


@pytest.mark.feature("D4")
async def test_why_tells_of_every_cloud_offer(ctx: Ctx, clock: ManualClock, market: Market) -> None:
    await tell(ctx, outcome(OutcomeKind.INTERRUPTED, detail="outbid"))
    clock.advance(40)
    plan = (await market.board()).plan(PlanRequest((Shape(1, 16_000),)), clock.now_ns())
    told_of = {c.offer.offer_key: c.reasons for c in plan.why.candidates}
    resting = "A machine was taken away in this region: outbid. It is tried again in 80 s."
    assert told_of["eu-1"] == told_of["eu-2"] == (resting,)
    assert told_of["us-1"][-1] == "Its cloud last told of it 40 s ago."
    assert plan.chosen is not None
    assert plan.chosen.offer.offer_key == "us-1"
