"""Writers at once, a database that is killed, and every money task five times: the same books."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from brain import migrate
from brain.billing import (
    MeterPolicy,
    accrue_due,
    post,
    prove,
    prove_due,
    release_due,
    settle_due,
    tend_days,
)
from brain.billing.service.gateway import usage_reported
from brain.plumbing import Ctx, Db
from cli.embedded import Postgres
from kernel.clock import ManualClock, SystemClock
from kernel.errors import GanglionError
from kernel.ids import SystemIds
from tests.integration.brain.billing.stage import Stage
from tests.integration.brain.billing.test_many_at_once import broken, pool_usage, transfer
from tests.support.wait import until

pytestmark = pytest.mark.feature("G3")
ACCOUNTS = [f"test:{n}" for n in range(20)]


@asynccontextmanager
async def processes(url: str, count: int) -> AsyncIterator[list[Ctx]]:
    """Contexts of their own, as far as PostgreSQL can tell, on the machine's clock."""
    clock = SystemClock()
    made = [Ctx(Db(url, pool_size=2), clock, SystemIds(clock)) for _ in range(count)]
    try:
        yield made
    finally:
        for one in made:
            await one.db.close()


async def writers(url: str, seconds: float, seed: int) -> int:
    """32 writers move money between 20 accounts, in every order, each of them twice at least."""
    done, loop = 0, asyncio.get_running_loop()
    end = loop.time() + seconds

    async def writer(ctx: Ctx, number: int) -> None:
        nonlocal done
        chance, n = Random(f"{seed} {number}"), 0
        while n < 2 or loop.time() < end:
            one, two = chance.sample(ACCOUNTS, 2)
            n += 1
            await post(ctx, transfer(ctx, f"{number}/{n}", one, two))
            done += 1

    async with processes(url, 8) as made:
        await asyncio.gather(*(writer(made[n % 8], n) for n in range(32)))
    return done


@pytest.mark.parametrize("seconds", [1.5, pytest.param(60, marks=pytest.mark.long)])
async def test_thirty_two_writers_on_twenty_accounts_never_deadlock(
    ctx: Ctx, database_url: str, seed: int, seconds: float
) -> None:
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    async with ctx.db.begin() as tx:
        before = await tx.scalar(text(deadlocks))
    done = await writers(database_url, seconds, seed)
    async with ctx.db.begin() as tx:
        await tx.execute(text("SELECT pg_stat_force_next_flush()"))
        assert await tx.scalar(text(deadlocks)) == before
        assert await tx.scalar(text("SELECT count(*) FROM journal_tx")) == done > 32
    assert await broken(ctx) == []


def kill(postgres: Postgres) -> None:
    """The server and all its children at once, as when the machine's power is cut."""
    assert postgres.process is not None
    server = psutil.Process(postgres.process.pid)
    for one in [server, *server.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):  # a child that saw the server go is gone itself
            one.send_signal(signal.SIGKILL)


async def lives(ctx: Ctx, postgres: Postgres, prefix: str, enough: int = 300) -> set[str]:
    """Keys whose debits were acknowledged before the server was killed under the load."""
    known: set[str] = set()

    async def caller(number: int) -> None:
        n = 0
        while True:
            n += 1
            key = f"{prefix}{number}/{n}"
            try:
                await post(ctx, transfer(ctx, key, ACCOUNTS[number % 20], "test:revenue"))
            except (SQLAlchemyError, OSError, GanglionError):
                return
            known.add(key)

    load = [asyncio.create_task(caller(n)) for n in range(64)]
    await until(lambda: len(known) >= enough, 60)
    kill(postgres)
    await asyncio.gather(*load)
    return known


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.long)])
async def test_a_killed_database_loses_no_acknowledged_debit(tmp_path: Path, kills: int) -> None:
    known: set[str] = set()
    for number in range(kills):
        postgres = Postgres(tmp_path)
        await postgres.start()
        await migrate.upgrade(postgres.url())
        async with processes(postgres.url(), 1) as (ctx,):
            before = await posted_keys(ctx)
            assert known <= before
            known |= before
            known |= await lives(ctx, postgres, f"life {number}/")
    postgres = Postgres(tmp_path)
    await postgres.start()
    async with processes(postgres.url(), 1) as (ctx,):
        assert known <= await posted_keys(ctx)
        assert [p.name for p in await prove(ctx) if not p.holds] == []
    await postgres.stop()


async def posted_keys(ctx: Ctx) -> set[str]:
    async with ctx.db.begin() as tx:
        return set(await tx.scalars(text("SELECT idempotency_key FROM journal_tx")))


BOOKS = "SELECT ledger_account, posted, held FROM balance WHERE ledger_account LIKE 'platform:%'"


async def books_after(stage: Stage, times: int, seed: int) -> list[int]:
    """A minute of the pool, every money task ``times`` at once: what each party then has."""

    async def standing() -> dict[str, int]:
        async with stage.ctx.db.begin() as tx:
            return {name: int(posted) for name, posted, _ in await tx.execute(text(BOOKS))}

    before, ctx, policy = await standing(), stage.ctx, MeterPolicy()
    batch, accounts = await pool_usage(stage, Random(seed))
    await stage.gateway.beat()
    tasks = (
        lambda: usage_reported(ctx, batch),
        lambda: settle_due(ctx, policy),
        lambda: accrue_due(ctx),
        lambda: release_due(ctx),
        lambda: tend_days(ctx, policy),
        lambda: prove_due(ctx),
    )
    for task in (*tasks, *tasks):
        await asyncio.gather(*(task() for _ in range(times)))
    after = await standing()
    platform = [after[name] - before.get(name, 0) for name in sorted(after)]
    return [*[await stage.posted(account) for account in accounts], *platform]


async def test_every_money_task_five_times_at_once_gives_the_same_books(
    ctx: Ctx, clock: ManualClock, seed: int
) -> None:
    stage = Stage(ctx, clock)
    await stage.gateway.hello()
    once = await books_after(stage, 1, seed)
    five = await books_after(stage, 5, seed)
    assert five == once
    assert await broken(ctx) == []
