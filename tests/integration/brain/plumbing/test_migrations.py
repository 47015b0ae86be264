"""Migrations: one head, up and down and up again, head equals the models, newer is refused."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from brain import migrate
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Ctx, Db
from brain.tables import every_table

pytestmark = pytest.mark.feature("O7")


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory.from_config(migrate.config()).get_heads()) == 1


async def _tables(engine: AsyncEngine) -> set[str]:
    async with engine.connect() as connection:
        return set(await connection.run_sync(lambda plain: inspect(plain).get_table_names()))


async def _leftovers(engine: AsyncEngine) -> int:
    """Functions, types and sequences of ours that are still there."""
    async with engine.connect() as connection:
        return await connection.scalar(
            text(
                "SELECT (SELECT count(*) FROM pg_proc WHERE pronamespace='public'::regnamespace)"
                " + (SELECT count(*) FROM pg_type WHERE typtype IN ('e','d')"
                "    AND typnamespace = 'public'::regnamespace)"
            )
        )


async def test_up_down_up(empty_database_url: str) -> None:
    db = Db(empty_database_url)
    await migrate.upgrade(empty_database_url)
    full = await _tables(db.engine)
    await migrate.downgrade(empty_database_url, "base")
    assert await _tables(db.engine) == {"alembic_version"}
    assert await _leftovers(db.engine) == 0
    await migrate.upgrade(empty_database_url)
    await migrate.upgrade(empty_database_url)
    assert await _tables(db.engine) == full
    await db.close()


async def test_each_step_goes_down_and_up_again(empty_database_url: str) -> None:
    db = Db(empty_database_url)
    scripts = ScriptDirectory.from_config(migrate.config())
    for script in reversed(list(scripts.walk_revisions())):
        await migrate.upgrade(empty_database_url, script.revision)
        await migrate.downgrade(empty_database_url, "-1")
        await migrate.upgrade(empty_database_url, script.revision)
        assert await migrate.revision(db.engine) == script.revision
    await db.close()


async def test_head_is_what_the_models_say(ctx: Ctx) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, every_table()))

    async with ctx.db.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(
    database_url: str, ctx: Ctx
) -> None:
    async with ctx.db.begin() as tx:
        await tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = await _tables(ctx.db.engine)
    with pytest.raises(migrate.DatabaseTooNew, match=r"9999.*newer version"):
        await migrate.upgrade(database_url)
    assert await _tables(ctx.db.engine) == before
    assert await migrate.revision(ctx.db.engine) == "9999"


async def test_the_platforms_account_is_there(ctx: Ctx) -> None:
    async with ctx.db.begin() as tx:
        names = await tx.scalars(text("SELECT id FROM account"))
    assert names.all() == [PLATFORM_ACCOUNT]
