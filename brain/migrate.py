"""Bring a database to this version's head; refuse one that a newer version has touched."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import migrations
from brain.plumbing.db import async_url

if TYPE_CHECKING:  # imported where it is used: every brain asks for the head, few migrate
    from alembic.config import Config

# Two processes that start at once migrate one after the other.
_MIGRATION_LOCK = 0x67616E6702
_LOCK_WAIT = "60s"


class DatabaseTooNew(Exception):
    """The database is of a newer version than this program."""


def config() -> Config:
    """Alembic's configuration, from the installed migrations package; no file is read."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(Path(migrations.__path__[0])))
    return made


def head() -> str:
    """The revision that this version of the program needs."""
    return migrations.known_revisions()[1]


def _current(connection: Connection) -> str | None:
    if connection.scalar(text("SELECT to_regclass('alembic_version')::text")) is None:
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _check_known(revision: str | None) -> None:
    if revision is not None and revision not in migrations.known_revisions()[0]:
        raise DatabaseTooNew(
            f"The database is at revision {revision[:40]}, which this version does not know:"
            " a newer version has used it. Start that version, or restore an older backup."
        )


def _upgrade(connection: Connection, target: str) -> None:
    from alembic import command

    connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_WAIT}'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    _check_known(_current(connection))
    made = config()
    made.attributes["connection"] = connection
    command.upgrade(made, target)


def _downgrade(connection: Connection, target: str) -> None:
    from alembic import command

    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
    made = config()
    made.attributes["connection"] = connection
    command.downgrade(made, target)


async def upgrade(url: str, target: str = "head") -> None:
    """All pending migrations in one transaction: all of them or none. May be repeated.

    ``DatabaseTooNew`` when the database's revision is not one of ours.
    """
    engine = _engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, target)
    finally:
        await engine.dispose()


async def downgrade(url: str, target: str) -> None:
    """Back to ``target`` (``base``: nothing of ours remains)."""
    engine = _engine(url)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_downgrade, target)
    finally:
        await engine.dispose()


async def revision(engine: AsyncEngine) -> str | None:
    """Where the database is now; None when it was never migrated."""
    async with engine.connect() as connection:
        return await connection.run_sync(_current)


def _engine(url: str) -> AsyncEngine:
    return create_async_engine(
        async_url(url), poolclass=pool.NullPool, connect_args={"timeout": 10}
    )


def main() -> int:
    url = os.environ.get("DATABASE_URL")
    if not url:
        sys.stderr.write("DATABASE_URL is not set: postgresql://user:password@host/name\n")
        return 2
    try:
        asyncio.run(upgrade(url))
    except DatabaseTooNew as error:
        sys.stderr.write(f"{error}\n")
        return 3
    except OSError as error:
        sys.stderr.write(f"The database cannot be reached: {error}\n")
        return 4
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
