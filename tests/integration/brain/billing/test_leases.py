"""Dedicated leases: cover, accrual, hourly posting, stops, and what is never billed."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from brain.billing import (
    Grant,
    LeaseMark,
    LeaseTerms,
    account_stopped,
    accrue_due,
    all_account_rows,
    can_spend,
    drained,
    grant,
    last_used_ns,
    lease_closed,
    lease_mark,
    lease_opened,
    prove,
    release_due,
    settle_due,
)
from brain.billing.core.books import lease_bill_key
from brain.billing.core.posting import Asset, Entry, Posting
from brain.billing.service.gateway import slice_asked
from brain.billing.service.group_commit import post
from brain.plumbing import Ctx
from kernel.clock import NS, ManualClock
from kernel.errors import OutOfCredit
from kernel.ids import AccountId, HoldId, TxId
from kernel.wire.gateway import SliceRequest, SliceReturn, UsageBatch, Watermark
from tests.integration.brain.billing.stage import POLICY, PROVIDER, RATE, Stage

HOUR_NANO = RATE  # what one GPU-hour costs
MINUTE_NANO = RATE // 60


@pytest.fixture
async def stage(ctx: Ctx, clock: ManualClock) -> Stage:
    made = Stage(ctx, clock)
    await made.gateway.hello()
    return made


async def close(stage: Stage, terms: LeaseTerms, outcome: str = "gone") -> None:
    """End the lease now and settle it with the gateway's word on it."""
    async with stage.ctx.db.begin() as tx:
        await lease_closed(tx, terms.lease_id, stage.now, outcome)
    await stage.gateway.send([], replica=terms.replica_id, until_ns=stage.now)
    await settle_due(stage.ctx, POLICY)


async def prove_all(stage: Stage) -> None:
    assert [p for p in await prove(stage.ctx) if not p.holds] == []


@pytest.mark.feature("G3")
async def test_a_lease_without_a_minutes_cover_is_refused(stage: Stage) -> None:
    poor = stage.account()
    await grant(stage.ctx, Grant(poor, "promo", "r", "k", credits=MINUTE_NANO // 100_000 - 1))
    with pytest.raises(OutOfCredit, match="first minute"):
        await stage.ready_lease(payer=poor, mode="dedicated")
    assert await stage.one("SELECT count(*) FROM meter_lease") == 0


@pytest.mark.feature("G1", "G3")
async def test_an_hour_is_posted_and_the_end_too(stage: Stage) -> None:
    payer = await stage.rich()
    terms = await stage.ready_lease(payer=payer, mode="dedicated")
    stage.clock.advance(3600)
    await stage.alive(terms)
    assert await accrue_due(stage.ctx) == 1
    assert await stage.posted(payer) == 10 * NS - HOUR_NANO
    stage.clock.advance(90)
    await close(stage, terms)
    assert await stage.posted(payer) == 10 * NS - HOUR_NANO - MINUTE_NANO * 3 // 2
    earned = HOUR_NANO * 85 // 100 + MINUTE_NANO * 3 // 2 * 85 // 100
    assert await stage.posted(f"{PROVIDER}:pending") == earned
    assert await stage.one("SELECT held FROM balance WHERE ledger_account = :a", a=payer) == 0
    await prove_all(stage)


@pytest.mark.feature("G1")
async def test_provision_is_free_and_load_is_not(stage: Stage) -> None:
    payer = await stage.rich()
    terms = stage.terms(payer=payer, mode="dedicated", gpus=2)
    for seconds, mark in ((30, LeaseMark.LOADING), (40, LeaseMark.READY)):
        async with stage.ctx.db.begin() as tx:
            await lease_opened(tx, terms, stage.ctx.ids)
        stage.clock.advance(seconds)
        async with stage.ctx.db.begin() as tx:
            await lease_mark(tx, terms.lease_id, mark, stage.now)
    stage.clock.advance(20)
    await close(stage, terms)
    assert await stage.posted(payer) == 10 * NS - 2 * MINUTE_NANO
    lines = [await stage.posted(f"{terms.lease_id}:{b}", "GPUNS") for b in ("provision", "load")]
    assert lines == [2 * 30 * NS, 2 * 40 * NS]
    await prove_all(stage)


@pytest.mark.feature("G1")
async def test_a_boot_that_never_became_ready_is_free(stage: Stage) -> None:
    payer = await stage.rich()
    terms = stage.terms(payer=payer, mode="dedicated")
    async with stage.ctx.db.begin() as tx:
        await lease_opened(tx, terms, stage.ctx.ids)
        await lease_mark(tx, terms.lease_id, LeaseMark.LOADING, stage.now)
    stage.clock.advance(500)
    await stage.alive(terms)
    await accrue_due(stage.ctx)
    await close(stage, terms)
    assert await stage.posted(payer) == 10 * NS
    assert await stage.one("SELECT held FROM balance WHERE ledger_account = :a", a=payer) == 0
    await prove_all(stage)


@pytest.mark.feature("G1")
async def test_the_meter_stops_at_the_last_evidence(stage: Stage) -> None:
    payer = await stage.rich()
    terms = await stage.ready_lease(payer=payer, mode="dedicated")
    stage.clock.advance(60)
    await stage.alive(terms)
    stage.clock.advance(600)
    await close(stage, terms, "lost")
    assert await stage.posted(payer) == 10 * NS - MINUTE_NANO
    assert await stage.posted(f"{terms.lease_id}:lost", "GPUNS") == 600 * NS
    await prove_all(stage)


@pytest.mark.feature("G1")
async def test_shares_of_an_own_deployment_are_shown_and_never_added(stage: Stage) -> None:
    payer = await stage.rich()
    terms, start = await stage.ready_lease(payer=payer, mode="dedicated"), stage.now
    stage.clock.advance(60)
    piece = stage.segment(terms, payer, start, start + 4 * NS)
    await stage.gateway.send([piece], replica=terms.replica_id, until_ns=stage.now)
    await close(stage, terms)
    assert await stage.posted(payer) == 10 * NS - MINUTE_NANO
    assert await stage.posted(payer, "GPUNS") == 4 * NS
    async with stage.ctx.db.begin() as tx:
        assert await last_used_ns(tx, terms.deployment_id) == start + 4 * NS
    await prove_all(stage)


@pytest.mark.feature("G3", "G4")
async def test_an_account_that_cannot_cover_the_next_minute_stops_until_it_can(
    stage: Stage,
) -> None:
    payer = stage.account()
    await grant(stage.ctx, Grant(payer, "promo", "r", "k", credits=3 * MINUTE_NANO // 100_000))
    terms = await stage.ready_lease(payer=payer, mode="dedicated")
    states = []
    for _ in range(5):
        stage.clock.advance(30)
        await stage.alive(terms)
        await accrue_due(stage.ctx)
        async with stage.ctx.db.begin() as tx:
            states.append(await account_stopped(tx, payer))
    assert states == [False] * 3 + [False, True]
    await grant(stage.ctx, Grant(payer, "promo", "r", "k2", credits=100_000))
    async with stage.ctx.db.begin() as tx:
        assert not await account_stopped(tx, payer)
        assert str(payer) in {row.account_id for row in await all_account_rows(tx)}


async def stopped_account(stage: Stage, **terms: object) -> tuple[AccountId, LeaseTerms]:
    """An account of two and a half minutes that ran until it was stopped, with half a one left."""
    payer = stage.account()
    await grant(stage.ctx, Grant(payer, "promo", "r", "k", credits=MINUTE_NANO // 40_000))
    lease = await stage.ready_lease(payer=payer, mode="dedicated", **terms)
    stage.clock.advance(120)
    await stage.alive(lease)
    await accrue_due(stage.ctx)
    async with stage.ctx.db.begin() as tx:
        assert await account_stopped(tx, payer)
    return payer, lease


@pytest.mark.feature("G3", "G4")
async def test_what_is_left_after_a_stop_may_be_spent_once_the_lease_is_closed(
    stage: Stage,
) -> None:
    payer, lease = await stopped_account(stage)
    await close(stage, lease)
    async with stage.ctx.db.begin() as tx:
        assert await can_spend(tx, payer)
    wanted = SliceRequest(str(stage.ctx.ids.new(HoldId)), "boot_1", str(payer), 1000, 1000)
    assert (await slice_asked(stage.ctx, wanted)).granted_nano == 1000
    with pytest.raises(OutOfCredit, match="first minute"):
        await stage.ready_lease(payer=payer, mode="dedicated")


@pytest.mark.feature("G3", "G4")
async def test_a_stop_lasts_until_the_accounts_last_lease_is_closed(stage: Stage) -> None:
    payer, one = await stopped_account(stage)
    await grant(stage.ctx, Grant(payer, "promo", "r", "k2", credits=MINUTE_NANO // 100_000))
    two = await stage.ready_lease(payer=payer, mode="dedicated")
    await accrue_due(stage.ctx)
    states = []
    for lease in (one, two):
        await close(stage, lease)
        async with stage.ctx.db.begin() as tx:
            states.append(await account_stopped(tx, payer))
    assert states == [True, False]


@pytest.mark.feature("G3", "G4")
async def test_slices_that_come_back_after_the_lease_may_be_spent(stage: Stage) -> None:
    payer = stage.account()
    await grant(stage.ctx, Grant(payer, "promo", "r", "k", credits=3 * MINUTE_NANO // 100_000))
    lease = await stage.ready_lease(payer=payer, mode="dedicated")
    slice_id = str(stage.ctx.ids.new(HoldId))
    await slice_asked(
        stage.ctx, SliceRequest(slice_id, "boot_1", str(payer), MINUTE_NANO, MINUTE_NANO)
    )
    stage.clock.advance(120)
    await stage.alive(lease)
    await accrue_due(stage.ctx)
    await close(stage, lease)
    await stage.gateway.send([], returns=[SliceReturn(slice_id)])
    assert await release_due(stage.ctx) == 1
    async with stage.ctx.db.begin() as tx:
        assert await can_spend(tx, payer)


@pytest.mark.feature("G1", "G3")
async def test_a_lease_that_cannot_be_billed_stops_no_other(stage: Stage) -> None:
    payers, leases = [await stage.rich() for _ in range(2)], []
    for payer in payers:
        stage.clock.advance(1)
        leases.append(await stage.ready_lease(payer=payer, mode="dedicated"))
    entries = (Entry("test:a", Asset.USD, -1), Entry("test:b", Asset.USD, 1))
    begun = stage.now - NS
    key = lease_bill_key(leases[0].lease_id, begun)
    await post(stage.ctx, Posting(stage.ctx.ids.new(TxId), key, "test", "", entries))
    stage.clock.advance(3600)
    for lease in leases:
        await stage.alive(lease)
    with capture_logs() as logged:
        assert await accrue_due(stage.ctx) == 1
    assert [e["lease_id"] for e in logged if "lease_id" in e] == [leases[0].lease_id]
    assert await stage.posted(payers[1]) == 10 * NS - HOUR_NANO


@pytest.mark.feature("G1")
async def test_a_replica_is_drained_when_every_live_gateway_says_so(stage: Stage) -> None:
    terms = await stage.ready_lease()
    since = stage.now

    async def told(in_flight: int, draining: bool) -> bool:
        stage.clock.advance(1)
        mark = Watermark(str(terms.replica_id), 1, in_flight, draining)
        await stage.gateway.beat()
        await stage.gateway.raw(
            UsageBatch("boot_1", "gw", stage.gateway.mine(stage.now), [], [mark])
        )
        async with stage.ctx.db.begin() as tx:
            return await drained(tx, terms.replica_id, since)

    answers = [await told(1, False), await told(0, False), await told(1, True), await told(0, True)]
    assert answers == [False, False, False, True]


@pytest.mark.feature("G1")
async def test_a_killed_gateway_holds_a_drain_until_its_successor_tells_its_end(
    stage: Stage,
) -> None:
    terms = await stage.ready_lease()
    mark = Watermark(str(terms.replica_id), 1, in_flight=3, draining=False)
    await stage.gateway.raw(UsageBatch("boot_1", "gw", stage.gateway.mine(stage.now), [], [mark]))
    since = stage.now

    async def told(after_seconds: float) -> bool:
        for _ in range(int(after_seconds)):
            stage.clock.advance(1)
            await stage.gateway.beat()
        async with stage.ctx.db.begin() as tx:
            return await drained(tx, terms.replica_id, since)

    assert not await told(100)  # it may only have lost the brain: its requests run on
    successor = stage.gateway.__class__(stage.ctx, "boot_2")
    await successor.hello()
    await successor.send([], closed_boots=["boot_1"])  # on its spool, which it has read
    done = Watermark(str(terms.replica_id), 1, in_flight=0, draining=True)
    await successor.raw(UsageBatch("boot_2", "gw", successor.mine(stage.now), [], [done]))
    assert await told(1)


@pytest.mark.feature("G1")
async def test_a_gateway_that_vanished_holds_a_drain_for_two_minutes_of_receiving(
    stage: Stage,
) -> None:
    terms = await stage.ready_lease()
    await stage.gateway.raw(UsageBatch("boot_1", "gw", stage.gateway.mine(stage.now), [], []))
    since = stage.now

    async def told() -> bool:
        async with stage.ctx.db.begin() as tx:
            return await drained(tx, terms.replica_id, since)

    async def receive(seconds: int) -> bool:
        for _ in range(seconds):
            stage.clock.advance(1)
            await stage.gateway.beat()
        return await told()

    assert not await receive(90)
    stage.clock.advance(300)  # the brain itself is away: that says nothing of a gateway
    await stage.gateway.beat()
    assert not await told()
    assert await receive(60)
