"""Alembic's entry: runs migrations on a connection it is handed, or on DATABASE_URL."""

from __future__ import annotations

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, MetaData, pool
from sqlalchemy.ext.asyncio import create_async_engine

from brain.plumbing.db import Base, async_url


def _migrate(connection: Connection, metadata: MetaData) -> None:
    """``metadata``: with the models for who compares; an upgrade needs its naming alone."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()


def _metadata() -> MetaData:
    from brain.tables import every_table  # with all of the brain's models

    return every_table()


async def _dial() -> None:
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise SystemExit("DATABASE_URL is not set: postgresql://user:password@host/name")
    engine = create_async_engine(async_url(url), poolclass=pool.NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(_migrate, _metadata())
    await engine.dispose()


handed: Connection | None = context.config.attributes.get("connection")
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", target_metadata=_metadata(), literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
elif handed is not None:
    _migrate(handed, Base.metadata)
else:
    asyncio.run(_dial())
