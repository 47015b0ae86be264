"""A fresh, migrated PostgreSQL database for each test that asks for ``database_url``."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import brain
from brain.plumbing.db import Base, async_url
from tests.support.shared import locked, server_url

TEMPLATE = "ganglion_template"


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


@pytest.fixture
def database_url(postgres_server: str, database_template: str, unique_name: str) -> Iterator[str]:
    """A database of this test's own, with the newest schema; dropped after it."""
    run_apart(_execute(postgres_server, f"CREATE DATABASE {unique_name} TEMPLATE {TEMPLATE}"))
    yield with_database(postgres_server, unique_name)
    run_apart(_execute(postgres_server, f"DROP DATABASE {unique_name} WITH (FORCE)"))


@pytest.fixture
def empty_database_url(postgres_server: str, unique_name: str) -> Iterator[str]:
    """A database of this test's own with nothing in it: for migrations."""
    run_apart(_execute(postgres_server, f"CREATE DATABASE {unique_name} TEMPLATE template0"))
    yield with_database(postgres_server, unique_name)
    run_apart(_execute(postgres_server, f"DROP DATABASE {unique_name} WITH (FORCE)"))


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
