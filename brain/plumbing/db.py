"""PostgreSQL through SQLAlchemy 2 async: one engine, short transactions, typed id columns.

No network call may be made while a transaction is open. Ids and times come from the
application, never from a column default.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Generic, TypeVar

import asyncpg
from sqlalchemy import Dialect, MetaData, Text, TypeDecorator, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase

from kernel.ids import Id

Tx = AsyncSession
IdT = TypeVar("IdT", bound=Id)
_ONCE_COMMITTED: Final = "once_committed"

# What the driver raises where it is used without SQLAlchemy. "Internal" comes of a dying server:
# its farewell leaves the connection in a state that the next statement does not expect.
DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Parent of every table. Constraint names are fixed, so that migrations can name them."""

    metadata = MetaData(naming_convention=NAMES)


class IdColumn(TypeDecorator[IdT], Generic[IdT]):
    """A typed id, stored as text: ``mapped_column(IdColumn(NodeId), primary_key=True)``."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[IdT]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> IdT | None:
        return None if value is None else self.kind(value)


def async_url(url: str) -> str:
    """``postgres://`` and ``postgresql://`` as people write them -> the asyncpg dialect's URL."""
    for scheme in ("postgresql+asyncpg://", "postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+asyncpg://" + url.removeprefix(scheme)
    return url


class _Connection(asyncpg.Connection):
    """asyncpg's, whose batches go out whole. Its own ``executemany`` loses a cancellation between
    two parts of a batch (128 KiB), and waits for the answer to a statement whose end was never
    sent: until the statement's time is over, with the connection."""

    async def executemany(
        self, command: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None
    ) -> None:
        sending = asyncio.ensure_future(super().executemany(command, args, timeout=timeout))
        try:
            await asyncio.shield(sending)
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.gather(sending, return_exceptions=True))
            raise


class Db:
    """The engine and its transactions."""

    def __init__(self, url: str, *, pool_size: int = 10, statement_seconds_max: int = 30) -> None:
        self.engine: AsyncEngine = create_async_engine(
            async_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=10,
            connect_args={
                "connection_class": _Connection,
                "timeout": 10,
                "command_timeout": statement_seconds_max,
                "server_settings": {"application_name": "ganglion", "timezone": "UTC"},
            },
        )
        event.listen(self.engine.sync_engine, "checkout", _still_open)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)
        bare = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._glances = async_sessionmaker(bare, expire_on_commit=False)

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Tx]:
        """One transaction: committed at the end of the block, rolled back on any exception."""
        async with self._sessions() as session:
            async with session.begin():
                yield session
            calls: list[Callable[[], None]] = session.info.get(_ONCE_COMMITTED, [])
        for call in calls:
            call()

    def glance(self) -> AbstractAsyncContextManager[Tx]:
        """For one statement that reads, often: it is asked alone, without BEGIN and COMMIT."""
        return self._glances()

    async def close(self) -> None:
        await self.engine.dispose()


def once_committed(tx: Tx, call: Callable[[], None]) -> None:
    """``call`` when this transaction of ``Db.begin`` is committed, however often it was asked for;
    never when it is rolled back. It must not raise: what it would tell of is done."""
    calls: list[Callable[[], None]] = tx.info.setdefault(_ONCE_COMMITTED, [])
    if call not in calls:
        calls.append(call)


def _still_open(connection: Any, record: Any, proxy: Any) -> None:
    """A connection that the server closed is replaced before it is used, and all of its pool with
    it. The socket tells; to ask the server would be three round trips for every transaction."""
    if connection.driver_connection.is_closed():
        raise InvalidatePoolError
