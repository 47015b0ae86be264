"""Databases that serve one test after the other: emptied between two of them.

To make one and drop it again costs a twentieth of a second of a core, to empty one a tenth of that.
What a test changed beyond rows (a table, a trigger, a partition), and what somebody still holds a
connection to, is not emptied but dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg

USES_MAX = 40  # dead rows pile up, as nothing vacuums
BYTES_MAX = 4 << 20  # of one table
WAIT_SECONDS_MAX = 60

# What every change of a schema leaves behind: newer rows in the catalogs, more of them or fewer.
SCHEMA = """
SELECT concat_ws(' ',
  (SELECT concat(count(*), ':', max(xmin::text::bigint)) FROM pg_class),
  (SELECT concat(count(*), ':', max(xmin::text::bigint)) FROM pg_attribute
    WHERE attrelid >= 16384),
  (SELECT concat(count(*), ':', max(xmin::text::bigint)) FROM pg_attrdef),
  (SELECT concat(count(*), ':', max(xmin::text::bigint)) FROM pg_constraint),
  (SELECT concat(count(*), ':', max(xmin::text::bigint)) FROM pg_index WHERE indexrelid >= 16384),
  (SELECT concat(count(*), ':', max(xmin::text::bigint)) FROM pg_trigger),
  (SELECT concat(count(*), ':', max(xmin::text::bigint)) FROM pg_type WHERE oid >= 16384),
  (SELECT concat(count(*), ':', max(xmin::text::bigint)) FROM pg_proc WHERE oid >= 16384),
  (SELECT concat(count(*), ':', max(xmin::text::bigint)) FROM pg_namespace),
  (SELECT concat(count(*), ':', max(xmin::text::bigint)) FROM pg_rewrite WHERE oid >= 16384),
  (SELECT concat(count(*), ':', max(xmin::text::bigint)) FROM pg_extension),
  (SELECT concat(count(*), ':', max(xmin::text::bigint)) FROM pg_db_role_setting))
"""
STATE = f"""
SELECT ({SCHEMA}) AS schema,
  (SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()) AS others,
  (SELECT coalesce(array_agg(relname::text), '{{}}') FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    AND pg_relation_size(oid) > 0) AS used,
  (SELECT coalesce(max(pg_relation_size(oid)), 0) FROM pg_class
    WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace) AS bytes
"""
FILL = """
SELECT format('INSERT INTO %1$I SELECT * FROM json_populate_recordset(NULL::%1$I, %2$L)',
  '{table}', (SELECT json_agg(t) FROM "{table}" t))
"""
CONTENTS = """SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM "{table}" t"""
RESTART = """
SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
FROM pg_sequences WHERE last_value IS NOT NULL
"""


@dataclass(frozen=True)
class Pristine:
    """What a new database is: its schema, and the rows that migrations put into it."""

    schema: str
    fills: tuple[str, ...]
    contents: tuple[tuple[str, str], ...]

    @classmethod
    async def of(cls, connection: asyncpg.Connection) -> Pristine:
        state = await state_of(connection)
        tables = sorted(state["used"])
        return cls(
            schema=state["schema"],
            fills=tuple([await connection.fetchval(FILL.format(table=one)) for one in tables]),
            contents=tuple([(one, await contents(connection, one)) for one in tables]),
        )


async def state_of(connection: asyncpg.Connection) -> asyncpg.Record:
    found = await connection.fetchrow(STATE)
    assert found is not None, "it is one row"
    return found


async def contents(connection: asyncpg.Connection, table: str) -> str:
    return str(await connection.fetchval(CONTENTS.format(table=table)))


@dataclass
class Held:
    """One database, and our own connection to it."""

    name: str
    connection: asyncpg.Connection
    uses: int = 0


# What the driver says of a connection that the test ended, or whose server died as it spoke.
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)


class Washery:
    """``make`` and ``drop`` are of a database by its name; ``address`` is where it is reached."""

    def __init__(
        self,
        make: Callable[[str], Awaitable[None]],
        drop: Callable[[str], Awaitable[None]],
        address: Callable[[str], str],
        prefix: str,
    ) -> None:
        self._make, self._drop, self._address = make, drop, address
        self._prefix, self._count = prefix, 0
        self._clean: list[Held] = []
        self._lent: dict[str, Held] = {}
        self._pristine: Pristine | None = None

    async def lend(self) -> str:
        """A database as it was made."""
        held = self._clean.pop() if self._clean else await self._new()
        self._lent[held.name] = held
        return held.name

    async def take_back(self, name: str) -> None:
        held = self._lent.pop(name)
        held.uses += 1
        try:
            washed = held.uses < USES_MAX and await self._wash(held.connection)
        except LOST:
            washed = False  # the test ended every connection there was
        if washed:
            self._clean.append(held)
        else:
            held.connection.terminate()
            await self._drop(name)

    async def close(self) -> None:
        for held in [*self._clean, *self._lent.values()]:
            held.connection.terminate()
            await self._drop(held.name)
        self._clean.clear()
        self._lent.clear()

    async def _new(self) -> Held:
        self._count += 1
        name = f"{self._prefix}_{self._count}"
        await self._make(name)
        connection = await asyncpg.connect(
            self._address(name),
            command_timeout=WAIT_SECONDS_MAX,
            server_settings={"session_replication_role": "replica"},
        )
        if self._pristine is None:
            self._pristine = await Pristine.of(connection)
        return Held(name, connection)

    async def _wash(self, connection: asyncpg.Connection) -> bool:
        """Whether it is as new again. Rows go without their triggers, which forbid it to some."""
        assert self._pristine is not None, "known since the first was made"
        state = await state_of(connection)
        if state["others"] or state["schema"] != self._pristine.schema:
            return False
        if state["bytes"] > BYTES_MAX:
            return False
        emptied = [f'DELETE FROM "{one}"' for one in state["used"]]
        await connection.execute(";".join([*emptied, *self._pristine.fills, RESTART]))
        for table, before in self._pristine.contents:
            if await contents(connection, table) != before:
                return False
        return True
