"""The test furniture itself: databases are fresh, servers are shared, names are short."""

from __future__ import annotations

import os

import asyncpg
import pytest
import redis.asyncio as redis
from sqlalchemy import text

from brain.plumbing import Ctx


async def test_each_test_has_a_database_of_its_own(database_url: str, unique_name: str) -> None:
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT current_database()") == unique_name
    await connection.close()


async def test_ctx_reaches_its_database(ctx: Ctx) -> None:
    async with ctx.db.begin() as tx:
        assert (await tx.execute(text("SELECT count(*) FROM change"))).scalar_one() == 0


async def test_valkey_database_is_empty_at_first(valkey_url: str) -> None:
    connection = redis.from_url(valkey_url)
    assert await connection.dbsize() == 0
    await connection.set("left", "behind")
    await connection.aclose()


@pytest.mark.xdist_group("one worker")
@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="needs pytest -n 2")
def test_groups_reach_xdist(request: pytest.FixtureRequest) -> None:
    """Servers that fill a machine are started once only while this holds."""
    assert request.node.nodeid.endswith("@one worker")
