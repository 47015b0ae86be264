"""What runs costs by the hour: recorded from the books, to the nano-dollar, once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from sqlalchemy import text

from brain import billing
from brain.costs import CostProofs, Recorder, Terms, record_due
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Ctx
from kernel.clock import NS, ManualClock
from kernel.ids import VolumeId
from tests.integration.brain.billing.stage import POLICY, PROVIDER, Stage
from tests.integration.brain.invoices.books import GIB_PRICE, Books

KEYS = ("key_" + "1" * 32, "key_" + "2" * 32)


@pytest.fixture
def books(ctx: Ctx, clock: ManualClock) -> Books:
    return Books(Stage(ctx, clock))


def terms(ctx: Ctx, *, enabled: bool = True, own: int = 0) -> Terms:
    return Terms(Recorder(ctx, b"k" * 32, enabled=enabled), own_nano_hour=own)


async def sums(ctx: Ctx, by: str) -> Mapping[str, int]:
    async with ctx.db.begin() as tx:
        rows = await tx.execute(
            text(f"SELECT {by}, sum(cost_nano) FROM cost_record GROUP BY 1 ORDER BY 1")
        )
        return {str(row[0]): int(row[1]) for row in rows}


async def broken(ctx: Ctx) -> list[str]:
    async with ctx.db.begin() as tx:
        found = await CostProofs(PLATFORM_ACCOUNT).proofs(tx, ctx.clock.now_ns())
    assert {proof.name for proof in found} >= {"priced_use", "costs_rows", "costs_leases"}
    return [proof.name for proof in found if not proof.holds]


async def witnessed(ctx: Ctx) -> None:
    async with ctx.db.begin() as tx:
        for lease in await billing.unwitnessed_leases(tx, closed_before_ns=2**62):
            await billing.lease_witnessed(tx, lease.lease_id, ctx.clock.now_ns())


@pytest.mark.feature("L1")
async def test_a_lease_on_a_node_costs_what_its_provider_earns(books: Books) -> None:
    ctx, account = books.ctx, await books.stage.rich(100)
    await books.own(account, 900, provider=PROVIDER)
    await asyncio.gather(*(record_due(ctx, terms(ctx)) for _ in range(3)))
    await books.own(account, 450, provider=PROVIDER, gpus=2)
    await witnessed(ctx)
    await asyncio.gather(*(record_due(ctx, terms(ctx)) for _ in range(3)))
    earned = await books.stage.posted(f"{PROVIDER}:pending")
    assert await sums(ctx, "provider") == {"nodes": earned}
    assert earned > 0
    assert await record_due(ctx, terms(ctx)) == 0
    assert await broken(ctx) == []


@pytest.mark.feature("L1")
async def test_what_runs_is_recorded_while_it_runs_and_keys_bear_their_share(
    books: Books,
) -> None:
    ctx, stage = books.ctx, books.stage
    account = await stage.rich(100)
    await stage.gateway.hello()
    lease = await stage.ready_lease()
    start = stage.now
    for key in (*KEYS, KEYS[0]):
        piece = stage.segment(lease, account, stage.now, stage.now + 10 * NS, key_id=key)
        stage.clock.advance(10)
        await stage.alive(lease)
        await stage.gateway.send([piece], replica=str(lease.replica_id), until_ns=stage.now)
    await billing.settle_due(ctx, POLICY)
    await record_due(ctx, terms(ctx))
    spent = await sums(ctx, "key_id")
    whole = lease.renter_rate_nano * (stage.now - start) * 85 // 100 // (3600 * NS)
    assert abs(sum(spent.values()) - whole) <= 1
    assert spent[KEYS[0]] == pytest.approx(whole * 2 / 3, abs=2)
    assert spent[KEYS[1]] == pytest.approx(whole / 3, abs=2)
    assert await broken(ctx) == []


@pytest.mark.feature("L1")
async def test_own_gpus_cost_what_the_setting_says(books: Books) -> None:
    ctx, account = books.ctx, await books.stage.rich(100)
    await books.own(account, 1800)
    await record_due(ctx, terms(ctx, own=600_000_000))
    assert await sums(ctx, "provider") == {"own": 300_000_000}


@pytest.mark.feature("L1")
async def test_a_volume_costs_what_its_provider_earns(books: Books) -> None:
    ctx, stage = books.ctx, books.stage
    account, until = await stage.rich(100), stage.now
    volume = ctx.ids.new(VolumeId)
    span = 3600 * NS
    stored = billing.Stored(volume, account, PROVIDER, 100, GIB_PRICE, until - span, until, span)
    async with ctx.db.begin() as tx:
        await billing.storage_accrued(tx, ctx, stored)
    for _ in range(3):
        await record_due(ctx, terms(ctx))
    earned = await stage.posted(f"{PROVIDER}:pending")
    assert await sums(ctx, "subject") == {str(volume): earned}


@pytest.mark.feature("L1")
async def test_switched_off_nothing_is_written_and_nothing_made_up_later(books: Books) -> None:
    ctx, account = books.ctx, await books.stage.rich(100)
    await books.own(account, 900, provider=PROVIDER)
    await witnessed(ctx)
    await record_due(ctx, terms(ctx, enabled=False))
    await record_due(ctx, terms(ctx))
    assert await sums(ctx, "provider") == {}
    assert await broken(ctx) == []


@pytest.mark.feature("L1", "G3")
async def test_use_with_a_price_that_was_not_charged_is_an_alarm(books: Books) -> None:
    ctx, account = books.ctx, await books.stage.rich(100)
    await books.own(account, 60)
    assert await broken(ctx) == []
    async with ctx.db.begin() as tx:
        await tx.execute(text("UPDATE lease_bill SET charge_nano = 0"))
    assert await broken(ctx) == ["priced_use"]


@pytest.mark.feature("L1", "G3")
async def test_use_of_the_pool_that_was_not_charged_is_an_alarm_until_it_is(books: Books) -> None:
    ctx, stage = books.ctx, books.stage
    await stage.gateway.hello()
    lease, account, start = await stage.ready_lease(pool_rate_nano=0), await stage.rich(), stage.now
    stage.clock.advance(12)
    piece = stage.segment(lease, account, start, start + NS)
    async with ctx.db.begin() as tx:
        await billing.lease_closed(tx, lease.lease_id, stage.now, "gone")
    await stage.gateway.send([piece], replica=lease.replica_id, until_ns=stage.now)
    await billing.settle_due(ctx)
    assert await broken(ctx) == []  # it has no price
    async with ctx.db.begin() as tx:
        await tx.execute(text("UPDATE meter_lease SET pool_rate_nano = 3600000000"))
    assert await broken(ctx) == ["priced_use"]
    await billing.prove_due(ctx, sources=(CostProofs(PLATFORM_ACCOUNT),))
    async with ctx.db.begin() as tx:
        told = {one.name: one.broken for one in await billing.proof_states(tx)}
    assert told["priced_use"] == 1  # what /metrics says: ganglion_proof_broken


@pytest.mark.feature("L1")
async def test_a_row_that_was_changed_by_hand_is_an_alarm(books: Books) -> None:
    ctx, account = books.ctx, await books.stage.rich(100)
    await books.own(account, 60, provider=PROVIDER)
    await witnessed(ctx)
    await record_due(ctx, terms(ctx))
    async with ctx.db.begin() as tx:
        await tx.execute(text("UPDATE cost_record SET cost_nano = cost_nano - 1"))
    assert await broken(ctx) == ["costs_rows"]
