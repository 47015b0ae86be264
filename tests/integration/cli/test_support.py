"""The test furniture itself: databases are fresh, servers are shared, names are short."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as redis
from sqlalchemy import text

from brain.plumbing import Ctx
from tests.support import warm
from tests.support.installation import command, environment


@pytest.mark.parametrize("time", ["first", "second", "third"])
async def test_each_test_has_a_database_as_new(database_url: str, time: str) -> None:
    """Whatever one does to its own, the next finds what migrations leave."""
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relname = 'odd'") == 0
    assert await connection.fetchval("SELECT count(*) FROM service_price") > 0
    await connection.execute("SET session_replication_role = replica")  # it may not be changed
    await connection.execute("DELETE FROM service_price")
    if time == "second":
        await connection.execute("CREATE TABLE odd ()")
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


def test_a_warm_program_says_and_ends_as_its_command_line_does(tmp_path: Path) -> None:
    home = tmp_path / "home"
    right, wrong = command(home, "prices", "--help"), command(home, "prices", "--nothing")
    assert (right.returncode, wrong.returncode) == (0, 2)
    assert "Usage: ganglion prices" in right.stdout
    assert "No such option" in wrong.stderr


def test_a_warm_program_is_signalled_and_told_apart_from_the_one_it_came_from(
    tmp_path: Path,
) -> None:
    own = {**environment(tmp_path / "home"), "AGENT_HOME": str(tmp_path / "agent")}
    with (tmp_path / "out").open("wb") as out:
        refused = warm.start("agent", [], environment=own, output=out.fileno())
        waits = warm.start(
            "stand-in", ["--port", "0", "--model", "m"], environment=own, output=out.fileno()
        )
    assert refused.wait(60) not in (0, None)
    assert waits.poll() is None
    waits.send_signal(signal.SIGKILL)
    assert waits.wait(60) == -signal.SIGKILL
    assert not Path(f"/proc/{waits.pid}").exists()
