"""The database's schema at start: looked at cheaply, migrated by the brain's own command."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

from cli.embedded import child
from cli.faults import CliError
from cli.supervisor.environment import big_program
from migrations import known_revisions

SECONDS_MAX = 300.0
CONNECT_SECONDS_MAX = 10.0
RAISED = re.compile(r"[A-Za-z][\w.]*: ")


async def ensure(database_url: str, environment: Mapping[str, str]) -> str:
    """Bring the database to this copy's schema: "up to date" or "migrated".

    Raises ``CliError`` for a database that cannot be reached or that a newer copy has changed.
    """
    revisions, head = known_revisions()
    found = await current_revision(database_url)
    if found == head:
        return "up to date"
    if found is not None and found not in revisions:
        raise CliError(
            f"The database was written by a newer Ganglion (it is at migration {found[:40]}; this "
            f"copy knows up to {head}).",
            "Update this copy, or set GANGLION_HOME (or DATABASE_URL) to other data.",
            code="database_too_new",
        )
    process = await child.spawn(
        big_program("brain.migrate"),
        environment=environment,
        output=asyncio.subprocess.PIPE,
    )
    said, _ = await asyncio.wait_for(process.communicate(), SECONDS_MAX)
    if process.returncode != 0:
        raise CliError(f"The database could not be migrated: {_why(said.decode(errors='replace'))}")
    return "migrated"


def _why(said: str) -> str:
    """What was raised last; below it the statement is shown, and where to read about it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    raised = [line for line in said.splitlines() if RAISED.match(line)]
    return (raised[-1:] or lines[-1:] or ["no message"])[0]


async def current_revision(database_url: str) -> str | None:
    """The schema's revision, None for a database without one."""
    import asyncpg

    dies = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    plain = database_url.replace("postgresql+asyncpg://", "postgresql://", 1)
    try:
        connection = await asyncpg.connect(plain, timeout=CONNECT_SECONDS_MAX)
    except (OSError, TimeoutError, ValueError, *dies) as problem:
        raise CliError(
            f"The database cannot be reached: {problem or type(problem).__name__}.",
            "Check DATABASE_URL, or unset it to use the embedded PostgreSQL.",
        ) from None
    try:
        found: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
        return found
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close()
