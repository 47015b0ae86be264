"""One look at all work rows: what is due and free is seen, and a look is shared by who asks."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import event

from brain.plumbing import Ctx, moves, work
from brain.plumbing.due import DueRows
from tests.integration.brain.plumbing.tables import LIGHT, Lamp, make_lamps

LAMPS = Lamp.__tablename__
TABLES = (LAMPS, "outbox")


@pytest.fixture(autouse=True)
async def _tables(ctx: Ctx) -> None:
    await make_lamps(ctx)


async def _add(ctx: Ctx, seconds: int) -> None:
    now = ctx.clock.now()
    lamp = Lamp(id="a", due_at=now + timedelta(seconds=seconds))
    async with ctx.db.begin() as tx:
        await moves.create(tx, lamp, LIGHT, reason="new", at=now)


async def test_a_row_that_is_due_is_seen(ctx: Ctx) -> None:
    await _add(ctx, 0)
    due = DueRows(ctx, TABLES)
    assert await due.any_in([LAMPS])
    assert not await due.any_in(["outbox"])


async def test_a_row_that_is_not_due_yet_is_not(ctx: Ctx) -> None:
    await _add(ctx, 1)
    assert not await DueRows(ctx, TABLES).any_in(TABLES)


async def test_a_row_that_another_holds_is_not(ctx: Ctx) -> None:
    await _add(ctx, 0)
    now = ctx.clock.now()
    async with ctx.db.begin() as tx:
        held = {"owner": "w", "token": "t", "lease_seconds": 30, "limit": 1}
        await work.take(tx, Lamp, now=now, **held)  # type: ignore[arg-type]
    assert not await DueRows(ctx, TABLES).any_in(TABLES)


async def test_who_asks_at_once_shares_a_look_and_who_asks_later_has_another(ctx: Ctx) -> None:
    due, looks = DueRows(ctx, TABLES), []
    engine = ctx.db.engine.sync_engine
    event.listen(engine, "after_cursor_execute", lambda *said: looks.append(said[2]))
    first = await asyncio.gather(*(due.any_in([table]) for table in TABLES))
    await _add(ctx, 0)
    assert (first, len([look for look in looks if "UNION ALL" in look])) == ([False, False], 1)
    assert await due.any_in([LAMPS])
