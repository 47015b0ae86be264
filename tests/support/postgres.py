"""A fresh, migrated PostgreSQL database for each test that asks for ``database_url``."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import pkgutil
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

import brain
from brain.plumbing.db import Base, async_url
from tests.support.shared import locked, server_url
from tests.support.washing import Washery

TEMPLATE = "ganglion_template"
DROPS_MAX = 10  # each of them waits for five seconds
T = TypeVar("T")


def run_apart(coroutine: Any) -> Any:
    """Run to the end in a thread of its own, whatever event loop the caller may be in."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


@pytest.fixture(scope="session")
def postgres_server(run_folder: Path) -> str:
    """The URL of the run's own PostgreSQL, on its maintenance database."""
    url = server_url(run_folder, "postgres")
    return with_database(url, "postgres")


@pytest.fixture(scope="session")
def database_template(postgres_server: str, run_folder: Path) -> str:
    """The name of a database that holds the newest schema, made once in a run."""
    done = run_folder / "template.done"
    with locked(run_folder, "template"):
        if not done.exists():
            run_apart(_make_template(postgres_server))
            done.touch()
    return TEMPLATE


class Keys:
    """Makes and drops databases, over one connection and from a thread with a loop of its own:
    a connection for each statement would cost more than the statement."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._connection: asyncpg.Connection | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def say(self, statement: str) -> None:
        self.wait_for(self.execute(statement))

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    async def execute(self, statement: str) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self._server)
        await self._connection.execute(statement)

    async def drop(self, name: str) -> None:
        """Who is still connected is sent away; on a busy machine that may take a while."""
        for left in reversed(range(DROPS_MAX)):
            try:
                await self.execute(f"DROP DATABASE {name} WITH (FORCE)")
                break
            except asyncpg.ObjectInUseError:
                if not left:
                    raise

    def close(self) -> None:
        if self._connection is not None:
            asyncio.run_coroutine_threadsafe(self._connection.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(scope="session")
def database_keys(postgres_server: str) -> Iterator[Keys]:
    keys = Keys(postgres_server)
    yield keys
    keys.close()


@pytest.fixture(scope="session")
def database_washery(
    postgres_server: str, database_keys: Keys, database_template: str
) -> Iterator[Washery]:
    async def make(name: str) -> None:
        await database_keys.execute(
            f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY"
        )

    washery = Washery(
        make,
        database_keys.drop,
        lambda name: with_database(postgres_server, name),
        f"test_{os.getpid()}",
    )
    yield washery
    database_keys.wait_for(washery.close())


@pytest.fixture
def database_url(
    postgres_server: str, database_keys: Keys, database_washery: Washery
) -> Iterator[str]:
    """A database that nobody else has meanwhile, as new, with the newest schema."""
    name = database_keys.wait_for(database_washery.lend())
    yield with_database(postgres_server, name)
    database_keys.wait_for(database_washery.take_back(name))


@pytest.fixture
def empty_database_url(
    postgres_server: str, database_keys: Keys, unique_name: str
) -> Iterator[str]:
    """A database of this test's own with nothing in it: for migrations."""
    database_keys.say(f"CREATE DATABASE {unique_name} TEMPLATE template0 STRATEGY FILE_COPY")
    yield with_database(postgres_server, unique_name)
    database_keys.wait_for(database_keys.drop(unique_name))


def with_database(url: str, name: str) -> str:
    head, _, query = url.partition("?")
    return f"{head.rpartition('/')[0]}/{name}?{query}"


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _make_template(server: str) -> None:
    await _execute(
        server,
        f"DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)",
        f"CREATE DATABASE {TEMPLATE} TEMPLATE template0",
    )
    await _migrate(with_database(server, TEMPLATE))


async def _migrate(url: str) -> None:
    if importlib.util.find_spec("brain.migrate") is not None:
        migrate = importlib.import_module("brain.migrate")
        await migrate.upgrade(url)
        return
    await _create_all(url)


async def _create_all(url: str) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    for module in pkgutil.walk_packages(brain.__path__, "brain."):
        if module.name.endswith((".models", ".changes", ".work", ".moves", ".outbox", ".audit")):
            importlib.import_module(module.name)
    engine = create_async_engine(async_url(url))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()
