"""Debits a second through the group commit, beside one SELECT ... FOR UPDATE conversation each, how
long one of 64 callers waits, and usage segments folded a second. Both write the same journal, with
its guards, durably."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from statistics import median, quantiles
from time import perf_counter

import asyncpg
from sqlalchemy import text

from bench.figure import Figure
from bench.fleet_rows import system_ctx
from brain import migrate
from brain.billing import (
    Asset,
    Entry,
    Grant,
    LeaseMark,
    LeaseTerms,
    Posting,
    grant,
    lease_closed,
    lease_mark,
    lease_opened,
    post,
    prove,
    settle_due,
)
from brain.billing.service.gateway import MeterPolicy, hello, receiving_beat, usage_reported
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Ctx
from brain.plumbing.collector import settle_collector
from kernel.clock import NS
from kernel.ids import AccountId, DeploymentId, LeaseId, ReplicaId, RequestId, TxId
from kernel.wire.gateway import (
    Hello,
    Segment,
    SegmentEnd,
    UsageBatch,
    Watermark,
    segment_key,
)

ROUNDS = 3
ROUND_SECONDS = 2.0
CALLERS = 1_000
CONVERSATIONS = 8
SEGMENTS = 20_000
LEASES = 4
BOOT = "bench"
REVENUE = "bench:revenue"

Debit = Callable[[str], Awaitable[object]]


async def figures(url: str, redis_url: str) -> list[Figure]:
    """Interleaved rounds; the proofs of the books must hold at the end. The peer's rows lie in a
    database of their own: they are no link of the journal's chain. This process collects garbage
    as the brain's do."""
    settle_collector()
    await migrate.upgrade(url)
    ctx, peer = system_ctx(url), await _peer_ctx(url)
    hot, many = ["bench:hot"], [f"bench:{n:04d}" for n in range(1_000)]
    rows: list[float] = []
    hots: list[float] = []
    spreads: list[float] = []
    folds: list[float] = []
    waits: list[float] = []
    policy = MeterPolicy()
    offset_ns = (await hello(ctx, Hello(BOOT, "bench", 120 * NS), policy)).offset_ns
    try:
        for seed in range(ROUNDS):
            rows.append(await row_debits_per_s(peer, hot, seed))
            hots.append(await debits_per_s(_grouped(ctx), hot, CALLERS, seed))
            spreads.append(await debits_per_s(_grouped(ctx), many, CALLERS, seed))
            waits += await _waits_at_64(ctx, hot, seed)
            folds.append(await fold_per_s(ctx, offset_ns, seed))
        broken = [proof.name for proof in await prove(ctx) if not proof.holds]
    finally:
        await ctx.db.close()
        await peer.db.close()
    assert not broken, f"the books do not hold: {broken}"
    ratio = median(h / r for h, r in zip(hots, rows, strict=True))
    return [
        Figure("ledger_debits_x_row", ratio, "x"),
        Figure("ledger_debits_hot_per_s", median(hots), "1/s"),
        Figure("ledger_debits_1000_per_s", median(spreads), "1/s"),
        Figure("ledger_debit_p50_ms_64", 1000 * quantiles(waits, n=100)[49], "ms"),
        Figure("ledger_debit_p99_ms_64", 1000 * quantiles(waits, n=100)[98], "ms"),
        Figure("fold_segments_per_s", median(folds), "1/s"),
    ]


PEER = "bench_ledger_row"


async def _peer_ctx(url: str) -> Ctx:
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {PEER}")
    await connection.close()
    head, _, query = url.partition("?")
    made = f"{head.rpartition('/')[0]}/{PEER}?{query}"
    await migrate.upgrade(made)
    return system_ctx(made)


async def _waits_at_64(ctx: Ctx, accounts: list[str], seed: int) -> list[float]:
    """How long each debit of 64 callers waited for its commit, in seconds."""
    waits: list[float] = []
    debit = _grouped(ctx)

    async def timed(account: str) -> None:
        start = perf_counter()
        await debit(account)
        waits.append(perf_counter() - start)

    await debits_per_s(timed, accounts, 64, seed)
    return waits


def _grouped(ctx: Ctx) -> Debit:
    async def debit(account: str) -> object:
        id = ctx.ids.new(TxId)
        entries = (Entry(account, Asset.USD, -7), Entry(REVENUE, Asset.USD, 7))
        return await post(ctx, Posting(id, f"bench/{id}", "bench", "", entries))

    return debit


async def debits_per_s(debit: Debit, accounts: list[str], callers: int, seed: int) -> float:
    """Each caller waits for its commit before its next debit."""
    done, end = 0, perf_counter() + ROUND_SECONDS

    async def caller(number: int) -> None:
        nonlocal done
        chance = Random(f"{seed} {number}")
        while perf_counter() < end:
            await debit(chance.choice(accounts))
            done += 1

    start = perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return done / (perf_counter() - start)


async def row_debits_per_s(ctx: Ctx, accounts: list[str], seed: int) -> float:
    """The peer: read the balance for update, write the entries and balances, commit; one by one."""
    await debits_per_s(_grouped(ctx), accounts, 1, seed)  # its rows exist
    url = ctx.db.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    pool = await asyncpg.create_pool(url, min_size=CONVERSATIONS, max_size=CONVERSATIONS)

    async def debit(account: str) -> object:
        id = str(ctx.ids.new(TxId))
        async with pool.acquire() as connection, connection.transaction():
            await connection.fetchval(
                "SELECT posted FROM balance WHERE ledger_account = $1 AND asset = 'USD' FOR UPDATE",
                account,
            )
            await connection.execute(
                "INSERT INTO journal_tx VALUES ($1, $1, '', 'bench', '', now())", id
            )
            for line, (name, amount) in enumerate(((account, -7), (REVENUE, 7)), 1):
                await connection.execute(
                    "INSERT INTO journal_entry VALUES ($1, $2, $3, 'USD', $4)",
                    id,
                    line,
                    name,
                    amount,
                )
                await connection.execute(
                    "UPDATE balance SET posted = posted + $2"
                    " WHERE ledger_account = $1 AND asset = 'USD'",
                    name,
                    amount,
                )
        return id

    try:
        return await debits_per_s(debit, accounts, CONVERSATIONS, seed)
    finally:
        await pool.close()


async def fold_per_s(ctx: Ctx, offset_ns: int, seed: int) -> float:
    """Segments of a minute on closed pool leases: shared, posted and folded."""
    chance, now = Random(seed), ctx.clock.now_ns()
    accounts = [ctx.ids.new(AccountId) for _ in range(20)]
    for account in accounts:
        given = Grant(account, "promo", "bench", f"bench {account}", credits=1_000_000)
        await grant(ctx, given)
    marks = []
    for _ in range(LEASES):
        terms = await _lease(ctx, now - 60 * NS)
        pieces = [
            _segment(ctx, chance, terms, chance.choice(accounts), now - offset_ns)
            for _ in range(SEGMENTS // LEASES)
        ]
        await usage_reported(ctx, UsageBatch(BOOT, "bench", 0, pieces))
        async with ctx.db.begin() as tx:
            await lease_closed(tx, terms.lease_id, now, "gone")
        marks.append(Watermark(str(terms.replica_id), ctx.clock.now_ns() - offset_ns))
    sent = ctx.clock.now_ns() - offset_ns
    await usage_reported(ctx, UsageBatch(BOOT, "bench", sent, [], marks))
    await receiving_beat(ctx)
    start = perf_counter()
    await settle_due(ctx, MeterPolicy())
    took = perf_counter() - start
    async with ctx.db.begin() as tx:
        left = await tx.scalar(text("SELECT count(*) FROM usage_segment WHERE NOT folded"))
    assert left == 0, f"{left} segments are not folded"
    return SEGMENTS / took


async def _lease(ctx: Ctx, opened_ns: int) -> LeaseTerms:
    terms = LeaseTerms(
        lease_id=ctx.ids.new(LeaseId),
        epoch=1,
        payer=PLATFORM_ACCOUNT,
        provider=ctx.ids.new(AccountId),
        gpus=1,
        renter_rate_nano=NS,
        provider_rate_nano=NS,
        mode="pool",
        pool_rate_nano=2 * NS,
        ceiling_prompt_nano=0,
        ceiling_completion_nano=0,
        deployment_id=ctx.ids.new(DeploymentId),
        replica_id=ctx.ids.new(ReplicaId),
        opened_ns=opened_ns,
    )
    async with ctx.db.begin() as tx:
        await lease_opened(tx, terms, ctx.ids)
        await lease_mark(tx, terms.lease_id, LeaseMark.READY, opened_ns)
    return terms


def _segment(
    ctx: Ctx, chance: Random, terms: LeaseTerms, account: AccountId, now_ns: int
) -> Segment:
    """One request of up to five seconds within the last minute, on the gateway's clock."""
    request = str(ctx.ids.new(RequestId))
    start = now_ns - 60 * NS + chance.randrange(54 * NS)
    return Segment(
        key=segment_key(request, 0, 0),
        day=ctx.clock.now().date().isoformat(),
        boot_id=BOOT,
        request_id=request,
        account_id=str(account),
        key_id="key_" + "0" * 32,
        deployment_id=str(terms.deployment_id),
        replica_id=str(terms.replica_id),
        lease_id=str(terms.lease_id),
        epoch=1,
        attempt=0,
        number=0,
        start_ns=start,
        end_ns=start + chance.randrange(5 * NS),
        end=SegmentEnd.DONE,
    )
