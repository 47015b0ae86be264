"""Many processes at once, dying anywhere, told twice: the books are the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from random import Random

import pytest
from sqlalchemy import text

from brain.billing import (
    Asset,
    Entry,
    Grant,
    Posting,
    accrue_due,
    grant,
    lease_closed,
    post,
    prove,
    release_due,
    settle_due,
)
from brain.billing.core.posting import Capture
from brain.billing.service.gateway import slice_asked, usage_reported
from brain.billing.store import journal
from brain.plumbing import Ctx, Db
from kernel.clock import NS, ManualClock
from kernel.errors import Conflict, OutOfCredit
from kernel.ids import AccountId, HoldId, TxId
from kernel.wire.gateway import SliceRequest, SliceReturn, UsageBatch, Watermark
from tests.integration.brain.billing.stage import Stage

pytestmark = pytest.mark.feature("G3")


@pytest.fixture
async def stage(ctx: Ctx, clock: ManualClock) -> Stage:
    made = Stage(ctx, clock)
    await made.gateway.hello()
    return made


@pytest.fixture
async def processes(ctx: Ctx, database_url: str) -> AsyncIterator[list[Ctx]]:
    """Eight processes, as far as PostgreSQL can tell."""
    made = [Ctx(Db(database_url, pool_size=2), ctx.clock, ctx.ids) for _ in range(8)]
    yield made
    for one in made:
        await one.db.close()


def transfer(ctx: Ctx, key: str, source: str, target: str, nano: int = 7) -> Posting:
    entries = (Entry(source, Asset.USD, -nano), Entry(target, Asset.USD, nano))
    return Posting(ctx.ids.new(TxId), key, "test", "", entries)


async def pool_usage(stage: Stage, chance: Random, leases: int = 3) -> tuple[UsageBatch, list]:
    """Leases of the pool, closed, with a minute of usage of four accounts in one batch."""
    accounts = [await stage.rich() for _ in range(4)]
    terms = [await stage.ready_lease(gpus=2) for _ in range(leases)]
    start = stage.now
    stage.clock.advance(60)
    pieces = []
    for lease in terms:
        for _ in range(40):
            begun = start + chance.randrange(55 * NS)
            ended = min(stage.now, begun + chance.randrange(9 * NS))
            pieces.append(stage.segment(lease, chance.choice(accounts), begun, ended))
        async with stage.ctx.db.begin() as tx:
            await lease_closed(tx, lease.lease_id, stage.now, "gone")
    until = stage.gateway.mine(stage.now)
    marks = [Watermark(str(lease.replica_id), until) for lease in terms]
    return UsageBatch("boot_1", "gw", until, pieces, marks), accounts


async def broken(ctx: Ctx) -> list[str]:
    return [f"{p.name}: {p.broken} of {p.count}" for p in await prove(ctx) if not p.holds]


async def test_thirty_two_writers_never_deadlock(stage: Stage, processes: list[Ctx]) -> None:
    accounts = [f"test:{n}" for n in range(6)]
    chance = Random(5)

    async def writer(number: int) -> None:
        ctx = processes[number % 8]
        for n in range(12):
            one, two = chance.sample(accounts, 2)
            await post(ctx, transfer(ctx, f"{number}/{n}", one, two))

    # A deadlock would be tried again after a sleep, which this standing clock never ends.
    async with asyncio.timeout(60):
        await asyncio.gather(*(writer(n) for n in range(32)))
    assert await stage.one("SELECT count(*) FROM journal_tx") == 32 * 12
    assert await broken(stage.ctx) == []


async def test_one_key_from_eight_processes_is_posted_once(
    stage: Stage, processes: list[Ctx]
) -> None:
    done = await asyncio.gather(
        *(post(ctx, transfer(ctx, "the same", "test:a", "test:b")) for ctx in processes)
    )
    assert len({one.id for one in done}) == 1
    assert await stage.posted("test:b") == 7


async def test_one_key_for_two_things_is_a_conflict_for_the_second(stage: Stage) -> None:
    ctx = stage.ctx
    results = await asyncio.gather(
        *(post(ctx, transfer(ctx, "k", "test:a", "test:b", nano)) for nano in (1, 2, 1)),
        return_exceptions=True,
    )
    assert [isinstance(r, Conflict) for r in results] == [False, True, False]
    assert await stage.posted("test:b") == 1


async def test_a_caller_that_goes_away_takes_nobody_along(stage: Stage) -> None:
    ctx = stage.ctx
    tasks = [
        asyncio.ensure_future(post(ctx, transfer(ctx, f"{n}", "test:a", "test:b")))
        for n in range(20)
    ]
    tasks[3].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(one, asyncio.CancelledError) for one in done) == 1
    assert await stage.posted("test:b") >= 19 * 7


async def test_a_grant_asked_many_times_at_once_is_given_once(
    stage: Stage, processes: list[Ctx]
) -> None:
    account = stage.account()
    wanted = Grant(account, "purchase", "paid", "intent-1", credits=1000)
    ids = await asyncio.gather(*(grant(ctx, wanted) for ctx in processes))
    assert len(set(ids)) == 1
    assert await stage.posted(account) == 1000 * 100_000


@pytest.mark.feature("G1")
async def test_eight_tickers_settle_as_one(stage: Stage, processes: list[Ctx], seed: int) -> None:
    batch, accounts = await pool_usage(stage, Random(seed))
    await asyncio.gather(*(usage_reported(ctx, batch) for ctx in processes))
    await stage.gateway.beat()
    for _ in range(2):
        await asyncio.gather(
            *(tick(ctx) for ctx in processes for tick in (settle_due, accrue_due, release_due))
        )
    assert await stage.one("SELECT count(*) FROM usage_segment WHERE NOT folded") == 0
    assert await broken(stage.ctx) == []
    paid = sum([10 * NS - await stage.posted(account) for account in accounts])
    assert paid == await stage.posted("platform:pool")


@pytest.mark.feature("G1")
async def test_a_tick_that_dies_anywhere_is_made_good_by_the_next(stage: Stage, seed: int) -> None:
    chance = Random(seed)
    batch, accounts = await pool_usage(stage, chance)
    for tries in range(25):
        for step in (usage_reported(stage.ctx, batch), settle_due(stage.ctx)):
            task = asyncio.ensure_future(step)
            await asyncio.wait({task}, timeout=chance.random() * 0.003 * tries)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    await usage_reported(stage.ctx, batch)
    await settle_due(stage.ctx)
    assert await stage.one("SELECT count(*) FROM usage_segment WHERE NOT folded") == 0
    assert await stage.one("SELECT count(*) FROM meter_lease WHERE finished") == 3
    assert await broken(stage.ctx) == []
    assert all([await stage.posted(account) < 10 * NS for account in accounts])


async def slice_of(ctx: Ctx, account: AccountId, want: int) -> HoldId | None:
    id = ctx.ids.new(HoldId)
    try:
        await slice_asked(ctx, SliceRequest(str(id), "boot_1", str(account), want, want))
    except OutOfCredit:
        return None
    return id


async def test_slices_asked_at_once_never_hold_more_than_there_is(
    stage: Stage, processes: list[Ctx]
) -> None:
    account = await stage.rich(dollars=1)
    asked = [slice_of(processes[n % 8], account, 90_000_000) for n in range(24)]
    granted = [id for id in await asyncio.gather(*asked) if id is not None]
    assert len(granted) == 11
    assert await broken(stage.ctx) == []


@pytest.mark.feature("G1")
async def test_a_slice_is_captured_then_released_and_an_overrun_stops_the_account(
    stage: Stage,
) -> None:
    account = stage.account()
    await grant(stage.ctx, Grant(account, "promo", "r", "k", credits=30))  # 3 GPU-seconds
    slice_id = await slice_of(stage.ctx, account, 2_000_000)
    terms, start = await stage.ready_lease(), stage.now
    stage.clock.advance(12)
    piece = stage.segment(terms, account, start, start + 4 * NS, slice_id=str(slice_id))
    await stage.gateway.send(
        [piece],
        replica=terms.replica_id,
        until_ns=stage.now,
        returns=[SliceReturn(str(slice_id))],
    )
    assert await release_due(stage.ctx) == 0  # its usage is not settled yet
    await settle_due(stage.ctx)
    assert await release_due(stage.ctx) == 1
    row = await stage.one("SELECT captured || '/' || released || '/' || state FROM hold")
    assert row == "2000000/0/closed"
    assert await stage.posted(account) == -1_000_000
    assert await stage.one("SELECT stopped FROM account_standing") is True
    assert await slice_of(stage.ctx, account, 0) is None
    assert await broken(stage.ctx) == []


async def test_a_dead_gateways_slices_come_back(stage: Stage) -> None:
    account = await stage.rich()
    await slice_of(stage.ctx, account, 10)
    other = stage.gateway.__class__(stage.ctx, "boot_2")
    await other.hello()
    assert await release_due(stage.ctx) == 0
    await other.send([], closed_boots=["boot_1"])
    assert await release_due(stage.ctx) == 1
    assert await stage.one("SELECT held FROM balance WHERE ledger_account = :a", a=account) == 0


@pytest.mark.feature("G1")
async def test_a_gateway_that_stops_cleanly_is_not_waited_for(stage: Stage) -> None:
    account = await stage.rich()
    other = stage.gateway.__class__(stage.ctx, "boot_2")
    await other.hello()
    terms, start = await stage.ready_lease(), stage.now
    stage.clock.advance(12)
    piece = stage.segment(terms, account, start, start + NS)
    await stage.gateway.send([piece], replica=terms.replica_id, until_ns=stage.now)
    assert await settle_due(stage.ctx) == 0
    await other.send([], closed_boots=["boot_2"])
    assert await settle_due(stage.ctx) == 1


async def test_capturing_beyond_a_hold_books_all_and_takes_only_what_was_held(
    stage: Stage,
) -> None:
    account = await stage.rich()
    slice_id = await slice_of(stage.ctx, account, 100)
    assert slice_id is not None
    made = transfer(stage.ctx, "k", account, "platform:pool", 250)
    taken = Posting(made.id, made.key, made.kind, "", made.entries, (Capture(slice_id, 250),))
    for _ in range(2):
        await post(stage.ctx, taken)
    assert await stage.one("SELECT captured FROM hold") == 100
    assert await stage.posted(account) == 10 * NS - 250
    assert await broken(stage.ctx) == []


async def test_a_batch_reads_no_table_as_a_whole_however_small_it_was_first(stage: Stage) -> None:
    """A session keeps its first plans; what they scan grows, and posting would grow slower."""
    account, ctx = await stage.rich(), stage.ctx
    slice_id = await slice_of(ctx, account, 1000)
    assert slice_id is not None
    async with ctx.db.begin() as tx:
        for n in range(8):  # the first five are planned each for itself
            batch = [transfer(ctx, f"{n}/{k}", account, f"test:{k}") for k in range(40)]
            taken = replace(batch[0], captures=(Capture(slice_id, 7),))
            await journal.post_all(
                tx, [taken, *batch[1:], transfer(ctx, f"{n}/1", account, "test:1")], ctx.clock.now()
            )
        scans = "SELECT sum(seq_scan) FROM pg_stat_xact_user_tables WHERE relname = ANY(:names)"
        names = ["journal_tx", "journal_entry", "journal_batch", "balance", "hold"]
        assert await tx.scalar(text(scans), {"names": names}) == 0
