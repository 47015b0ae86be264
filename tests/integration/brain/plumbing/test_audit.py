"""The audit log only grows, and tampering shows."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from brain.plumbing import Ctx, audit
from brain.plumbing.audit import Audit
from kernel.clock import ManualClock

pytestmark = pytest.mark.feature("I7")


async def _record(ctx: Ctx, action: str) -> None:
    async with ctx.db.begin() as tx:
        await audit.record(tx, ctx, "user_a", action, "key_b", {"n": 1, "ok": True, "x": None})


async def _first_break(ctx: Ctx) -> int | None:
    async with ctx.db.begin() as tx:
        return await audit.first_break(tx, page=3)


async def test_rows_written_at_once_make_one_chain(ctx: Ctx, clock: ManualClock) -> None:
    await asyncio.gather(*(_record(ctx, f"act {number}") for number in range(10)))
    clock.advance(1.25)
    await _record(ctx, "last")
    assert await _first_break(ctx) is None
    async with ctx.db.begin() as tx:
        assert list(await tx.scalars(select(Audit.seq).order_by(Audit.seq))) == list(range(1, 12))


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"],
)
async def test_rows_can_be_neither_changed_nor_taken_away(ctx: Ctx, statement: str) -> None:
    await _record(ctx, "act")
    with pytest.raises(DBAPIError, match="append-only"):
        async with ctx.db.begin() as tx:
            await tx.execute(text(statement))


@pytest.mark.parametrize(
    "tamper",
    [
        "UPDATE audit SET actor = 'x' WHERE seq = 2",
        "UPDATE audit SET detail = '{}' WHERE seq = 2",
        "UPDATE audit SET at = at + interval '1 microsecond' WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 2",
        "UPDATE audit SET hash = hash_before WHERE seq = 2",
    ],
)
async def test_the_owner_of_the_database_cannot_tamper_unseen(ctx: Ctx, tamper: str) -> None:
    for number in range(5):
        await _record(ctx, f"act {number}")
    async with ctx.db.begin() as tx:
        await tx.execute(text("ALTER TABLE audit DISABLE TRIGGER USER"))
        await tx.execute(text(tamper))
    assert await _first_break(ctx) == 2
