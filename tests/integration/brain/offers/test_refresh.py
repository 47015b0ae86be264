"""Refreshes: what clouds tell is kept, what cannot be true is not, nobody waits for another."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from brain.clouds import CredentialsRefused, OutcomeUnknown, Throttled
from brain.offers import Market, Outcome, OutcomeKind, Waiting, offers, record, refresh_due, store
from brain.plumbing import Ctx, Tx
from brain.scheduling import PlanRequest, Shape
from kernel.clock import NS, ManualClock
from kernel.money import NANO
from tests.support.told import TellingCloud, told
from tests.support.wait import until

ANYTHING = PlanRequest(shapes=(Shape(1, 16_000),))


async def refresh(ctx: Ctx, *clouds: TellingCloud, waiting: Waiting | None = None) -> int:
    by_name = {cloud.name: cloud for cloud in clouds}
    return await refresh_due(ctx, by_name, waiting=waiting or Waiting())


async def keys(ctx: Ctx) -> list[str]:
    return sorted(offer.offer_key for offer in await offers(ctx))


async def row(ctx: Ctx, cloud: str) -> store.OfferRefresh:
    async with ctx.db.begin() as tx:
        return next(one for one in await store.refreshes(tx) if one.cloud == cloud)


@pytest.mark.feature("B5")
async def test_offers_are_kept_at_the_renters_price(ctx: Ctx) -> None:
    cloud = TellingCloud(told=[told("a", price_nano=NANO, spot=True, secure=False, host="h1")])
    assert await refresh(ctx, cloud) == 1
    (found,) = await offers(ctx)
    assert (found.cloud, found.offer_key, found.node_id, found.host) == ("first", "a", None, "h1")
    assert found.price_nano == NANO * 12 // 10
    assert (found.free, found.total, found.spot, found.trust.name) == (1, 1, True, "COMMUNITY")


@pytest.mark.feature("B5")
async def test_a_cloud_is_asked_at_its_pace(ctx: Ctx, clock: ManualClock) -> None:
    cloud = TellingCloud(told=[told()])
    assert [await refresh(ctx, cloud), await refresh(ctx, cloud)] == [1, 0]
    clock.advance(31)
    assert await refresh(ctx, cloud) == 1


@pytest.mark.feature("B5")
async def test_what_is_told_no_more_is_withdrawn(ctx: Ctx, clock: ManualClock) -> None:
    cloud = TellingCloud(told=[told("a"), told("b")])
    await refresh(ctx, cloud)
    cloud.tell(told("b"), told("c"))
    clock.advance(31)
    await refresh(ctx, cloud)
    assert await keys(ctx) == ["b", "c"]


@pytest.mark.feature("B6")
async def test_a_failure_keeps_the_old_ones_and_is_told(ctx: Ctx, clock: ManualClock) -> None:
    cloud = TellingCloud(told=[told()])
    await refresh(ctx, cloud)
    cloud.failure = OutcomeUnknown("It answered 502.")
    clock.advance(31)
    await refresh(ctx, cloud)
    assert await keys(ctx) == ["l4"]
    found = await row(ctx, "first")
    assert (found.failure, found.failures) == ("It answered 502.", 1)


@pytest.mark.feature("B6")
async def test_old_offers_are_chosen_with_their_age_until_too_old(
    ctx: Ctx, clock: ManualClock
) -> None:
    cloud = TellingCloud(told=[told()])
    await refresh(ctx, cloud)
    cloud.failure = OutcomeUnknown("It answered 502.")
    clock.advance(500)
    market = Market(ctx)
    plan = (await market.board()).plan(ANYTHING, clock.now_ns())
    assert plan.chosen is not None
    assert "Its cloud last told of it 500 s ago." in plan.candidates[0].reasons
    clock.advance(101)
    late = (await market.board()).plan(ANYTHING, clock.now_ns())
    assert late.chosen is None
    assert "last told of it 601 s ago" in late.summary


@pytest.mark.feature("B6")
async def test_a_cloud_that_is_not_heard_for_an_hour_is_not_shown(
    ctx: Ctx, clock: ManualClock
) -> None:
    gone, here = (
        TellingCloud("gone", [told("g", "gone")]),
        TellingCloud("here", [told("h", "here")]),
    )
    await refresh(ctx, gone, here)
    clock.advance(3601)
    await refresh(ctx, here)
    assert await keys(ctx) == ["h"]


@pytest.mark.feature("B6")
async def test_a_cloud_that_hangs_delays_no_other(ctx: Ctx) -> None:
    slow = TellingCloud("slow", gate=asyncio.Event())
    quick = TellingCloud("quick", told=[told("q", "quick")])
    running = asyncio.create_task(refresh(ctx, slow, quick))

    async def told_of() -> bool:
        return await keys(ctx) == ["q"]

    await until(told_of)
    assert not running.done()
    assert slow.gate is not None
    slow.gate.set()
    assert await running == 2


@pytest.mark.feature("B6")
async def test_lies_are_refused_and_said(ctx: Ctx) -> None:
    lies = [told("n", price_nano=-1), told("f", price_nano=0), told("u", gpu_name=" ")]
    await refresh(ctx, TellingCloud(told=[told("good"), *lies]))
    assert await keys(ctx) == ["good"]
    refused = (await row(ctx, "first")).refused
    assert refused.startswith("3 of 4 offers were refused: ")
    assert "a negative price (1×)" in refused


@pytest.mark.feature("B6")
async def test_a_million_rows_are_refused_whole(ctx: Ctx, clock: ManualClock) -> None:
    cloud = TellingCloud(told=[told("a")])
    await refresh(ctx, cloud)
    cloud.told = [told("a")] * 1_000_000
    clock.advance(31)
    await refresh(ctx, cloud)
    assert await keys(ctx) == ["a"]
    assert (await row(ctx, "first")).failure == "It told of 1,000,000 offers; 20,000 is the most."


@pytest.mark.feature("B6")
async def test_an_adapter_that_breaks_is_words_too(ctx: Ctx) -> None:
    broken = TellingCloud("broken", failure=KeyError("x"))
    good = TellingCloud("good", told=[told("g", "good")])
    assert await refresh(ctx, broken, good) == 2
    assert await keys(ctx) == ["g"]
    assert (await row(ctx, "broken")).failure == "Its adapter failed: KeyError."


@pytest.mark.feature("B6")
async def test_refused_credentials_shut_the_cloud_until_they_are_accepted(
    ctx: Ctx, clock: ManualClock
) -> None:
    cloud = TellingCloud(told=[told()])
    await refresh(ctx, cloud)
    cloud.failure = CredentialsRefused("Its key is revoked.")
    clock.advance(31)
    await refresh(ctx, cloud)
    (shut,) = await offers(ctx)
    said = "This cloud cannot be used now; its account needs an administrator."
    assert shut.withheld == said
    assert (await row(ctx, "first")).failure == "Its key is revoked."
    cloud.failure = None
    clock.advance(61)
    await refresh(ctx, cloud)
    (again,) = await offers(ctx)
    assert again.withheld == ""


@pytest.mark.feature("B6")
async def test_a_throttled_cloud_is_asked_when_it_says(ctx: Ctx, clock: ManualClock) -> None:
    cloud = TellingCloud(failure=Throttled("Slow down.", retry_after=90))
    await refresh(ctx, cloud)
    clock.advance(89)
    assert await refresh(ctx, cloud) == 0
    clock.advance(2)
    assert await refresh(ctx, cloud) == 1


@pytest.mark.feature("F2")
async def test_capacity_that_comes_up_ends_the_rest_and_wakes_who_waits(
    ctx: Ctx, clock: ManualClock
) -> None:
    class Woken(Waiting):
        times = 0

        async def capacity_appeared(self, tx: Tx) -> None:
            self.times += 1

    cloud, woken = TellingCloud(told=[told()]), Woken()
    await refresh(ctx, cloud, waiting=woken)
    async with ctx.db.begin() as tx:
        lost = Outcome("first", "eu", "NVIDIA L4", "", OutcomeKind.NO_CAPACITY, offer_key="l4")
        for _ in range(5):
            await record(tx, lost, clock.now_ns())
    cloud.tell()
    clock.advance(31)
    await refresh(ctx, cloud, waiting=woken)
    cloud.tell(told())
    clock.advance(31)
    await refresh(ctx, cloud, waiting=woken)
    assert woken.times == 2
    plan = (await Market(ctx).board()).plan(ANYTHING, clock.now_ns())
    assert plan.chosen is not None


async def test_the_snapshot_is_made_anew_only_when_rows_changed(
    ctx: Ctx, clock: ManualClock
) -> None:
    cloud = TellingCloud(told=[told()])
    await refresh(ctx, cloud)
    market = Market(ctx)
    for _ in range(5):
        await market.board()
        clock.advance(2)
    assert market.rebuilt == 1
    async with ctx.db.begin() as tx:
        lost = Outcome("first", "eu", "NVIDIA L4", "", OutcomeKind.NO_CAPACITY, offer_key="l4")
        await record(tx, lost, clock.now_ns())
    await market.board()
    assert market.rebuilt == 2


async def test_a_refresh_that_finds_all_as_it_was_writes_no_offer(
    ctx: Ctx, clock: ManualClock
) -> None:
    cloud = TellingCloud(told=[told("a"), told("b")])
    await refresh(ctx, cloud)
    before = await changed(ctx)
    clock.advance(31)
    await refresh(ctx, cloud)
    assert await changed(ctx) == before
    assert (await row(ctx, "first")).changes == 1
    (one, _) = await offers(ctx)
    assert clock.now_ns() - one.seen_ns < NS


async def changed(ctx: Ctx) -> list[tuple[str, int, int]]:
    async with ctx.db.begin() as tx:
        rows = await tx.execute(text("SELECT key, changed_ns, xmin::text::bigint FROM cloud_offer"))
        return sorted((r[0], r[1], r[2]) for r in rows)
