"""PostgreSQL and Valkey as our children: made, kept, found again after a kill."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio as redis

from cli.embedded import DatabaseUnusable, Postgres, Valkey
from cli.embedded.child import alive


@pytest.fixture
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ganglion-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


async def row_count(postgres: Postgres) -> int:
    connection = await asyncpg.connect(postgres.url())
    await connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
    await connection.execute("INSERT INTO kept VALUES (1)")
    count: int = await connection.fetchval("SELECT count(*) FROM kept")
    await connection.close()
    return count


async def test_rows_outlive_a_killed_server(home: Path) -> None:
    first = Postgres(home)
    process = await first.start()
    assert await row_count(first) == 1
    process.send_signal(signal.SIGKILL)
    await process.wait()
    second = Postgres(home)
    await second.start()
    assert await row_count(second) == 2
    await second.stop()


async def test_a_pid_file_that_points_to_a_stranger_is_no_server(home: Path) -> None:
    postgres = Postgres(home)
    await postgres.start()
    await postgres.stop()
    postgres.pid_file.write_text("1\n")
    await postgres.start()
    assert await row_count(postgres) == 1
    await postgres.stop()


async def test_a_home_that_lies_deep_works(home: Path) -> None:
    postgres, valkey = Postgres(home / ("deep" * 25)), Valkey(home / ("deep" * 25))
    await postgres.start()
    await valkey.start()
    assert await row_count(postgres) == 1
    await postgres.stop()
    await valkey.stop()


async def test_data_of_another_version_are_refused_by_name(home: Path) -> None:
    postgres = Postgres(home)
    await postgres.start()
    await postgres.stop()
    (home / "postgres" / "PG_VERSION").write_text("14\n")
    with pytest.raises(DatabaseUnusable, match=r"written by PostgreSQL 14"):
        await postgres.start()


async def test_nothing_listens_on_the_network(home: Path) -> None:
    postgres = Postgres(home)
    await postgres.start()
    connection = await asyncpg.connect(postgres.url())
    assert await connection.fetchval("SHOW listen_addresses") == ""
    await connection.close()
    await postgres.stop()


async def test_a_half_made_data_folder_is_made_anew(home: Path) -> None:
    (home / "postgres.new").mkdir()
    (home / "postgres.new" / "half").write_text("made")
    postgres = Postgres(home)
    await postgres.start()
    assert await row_count(postgres) == 1
    await postgres.stop()


async def test_queued_tasks_outlive_a_killed_valkey(home: Path) -> None:
    first = Valkey(home)
    process = await first.start()
    client = redis.from_url(first.url())
    await client.rpush("queue", "task")
    # A kill leaves what was written to the file; it is synced once a second for a power cut.
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await client.aclose()
    second = Valkey(home)
    await second.start()
    client = redis.from_url(second.url())
    assert await client.llen("queue") == 1
    await client.aclose()
    await second.stop()


async def test_a_stop_may_be_repeated(home: Path) -> None:
    valkey = Valkey(home)
    process = await valkey.start()
    await valkey.stop()
    await valkey.stop()
    assert not alive(process.pid)
