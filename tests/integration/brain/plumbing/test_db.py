"""The pool: closed connections are replaced before anyone meets them; what a commit sets off."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import psutil
from sqlalchemy import text

from brain.plumbing import Db, once_committed
from tests.support.wait import until


async def backends(db: Db) -> list[int]:
    """Open as many connections as the pool keeps, at once, and tell their processes."""
    ready = asyncio.Barrier(3)

    async def one() -> int:
        async with db.begin() as tx:
            await ready.wait()
            return int(await tx.scalar(text("SELECT pg_backend_pid()")) or 0)

    return sorted(await asyncio.gather(*(one() for _ in range(3))))


async def test_connections_that_the_server_ended_are_replaced(database_url: str) -> None:
    db, other = Db(database_url, pool_size=3), Db(database_url, pool_size=1)
    try:
        before = await backends(db)
        async with other.begin() as tx:
            await tx.execute(
                text("SELECT pg_terminate_backend(pid) FROM unnest(CAST(:p AS int[])) pid"),
                {"p": before},
            )

        async def gone() -> bool:
            if any(map(psutil.pid_exists, before)):
                return False  # the ends of their connections are still to come
            async with other.begin() as tx:
                left = await tx.scalar(
                    text("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(:p)"), {"p": before}
                )
            return left == 0

        await until(gone)
        after = await backends(db)
        assert not set(before) & set(after)
    finally:
        await db.close()
        await other.close()


async def test_a_batch_that_is_cut_short_ends_at_once(database_url: str) -> None:
    db = Db(database_url, pool_size=1)
    batch = [{"id": number, "said": "x" * 1000} for number in range(2000)]
    put = text("INSERT INTO batch (id, said) VALUES (:id, :said)")

    async def send(begun: asyncio.Event) -> None:
        async with db.begin() as tx:
            await tx.scalar(text("SELECT 1"))
            begun.set()
            await tx.execute(put, batch)

    try:
        async with db.begin() as tx:
            await tx.execute(text("CREATE UNLOGGED TABLE batch (id int, said text)"))
        for turns in range(12):
            sending = asyncio.create_task(send(begun := asyncio.Event()))
            await begun.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            sending.cancel()
            done, _ = await asyncio.wait({sending}, timeout=15)
            assert done, f"cut after {turns} turns it still waits"
        async with db.begin() as tx:
            assert await tx.scalar(text("SELECT count(*) FROM batch")) == 0
    finally:
        await db.close()


async def test_each_statement_of_a_glance_is_asked_alone(database_url: str) -> None:
    db = Db(database_url, pool_size=1)
    began = text("SELECT now()")
    try:
        async with db.glance() as tx:
            assert await tx.scalar(began) != await tx.scalar(began), "no transaction holds the time"
        async with db.begin() as tx:
            assert await tx.scalar(began) == await tx.scalar(began), "the connection is as before"
    finally:
        await db.close()


async def test_a_hint_is_called_once_and_only_by_a_commit(database_url: str) -> None:
    db, called = Db(database_url, pool_size=1), []

    def call() -> None:
        called.append(1)

    try:
        async with db.begin() as tx:
            await tx.scalar(text("SELECT 1"))
            async with tx.begin_nested():
                once_committed(tx, call)
                once_committed(tx, call)
            assert not called, "a savepoint is no commit"
        assert called == [1]
        with suppress(LookupError):
            async with db.begin() as tx:
                await tx.scalar(text("SELECT 1"))
                once_committed(tx, call)
                raise LookupError
        assert called == [1], "what is rolled back is not told"
    finally:
        await db.close()
