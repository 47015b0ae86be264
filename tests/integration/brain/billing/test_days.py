"""Days of usage: made ahead, folded by key, dropped whole, and the books still close over them."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from brain.billing import MeterPolicy, lease_closed, settle_due, tend_days
from brain.billing.core.window import Folding
from brain.billing.store import days, segments
from brain.plumbing import Ctx
from kernel.clock import NS, ManualClock
from kernel.ids import LeaseId
from tests.integration.brain.billing.stage import Stage
from tests.integration.brain.billing.test_many_at_once import broken

pytestmark = pytest.mark.feature("G3")
POLICY = MeterPolicy(usage_days=35)
MINE, OTHERS = 40, 1_000
READ = """
    SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables
    WHERE relname LIKE 'usage_segment%'
"""


@pytest.fixture
async def stage(ctx: Ctx, clock: ManualClock) -> Stage:
    made = Stage(ctx, clock)
    await made.gateway.hello()
    return made


async def present(ctx: Ctx) -> list[date]:
    async with ctx.db.begin() as tx:
        return await days.present(tx)


async def used(stage: Stage, *, settled: bool = True) -> None:
    """A second of a closed lease, on today's day."""
    terms, start = await stage.ready_lease(), stage.now
    stage.clock.advance(12)
    piece = stage.segment(terms, await stage.rich(), start, start + NS)
    async with stage.ctx.db.begin() as tx:
        await lease_closed(tx, terms.lease_id, stage.now, "gone")
    await stage.gateway.send([piece], replica=terms.replica_id, until_ns=stage.now)
    if settled:
        await settle_due(stage.ctx)


async def test_days_are_there_before_they_are_needed_however_many_make_them(stage: Stage) -> None:
    await asyncio.gather(*(tend_days(stage.ctx, POLICY) for _ in range(5)))
    today = stage.ctx.clock.now().date()
    assert await present(stage.ctx) == [today + timedelta(n) for n in range(3)]


async def test_a_dropped_day_leaves_books_that_close(stage: Stage) -> None:
    await used(stage)
    first = stage.ctx.clock.now().date()
    stage.clock.advance(36 * 86_400)
    assert await tend_days(stage.ctx, POLICY) == [first]
    assert await stage.one("SELECT count(*) FROM usage_segment") == 0
    assert await stage.one("SELECT segments FROM usage_dropped") == 1
    assert await broken(stage.ctx) == []


async def test_a_day_in_which_something_waits_is_kept(stage: Stage) -> None:
    await used(stage, settled=False)
    stage.clock.advance(36 * 86_400)
    assert await tend_days(stage.ctx, POLICY) == []
    assert await stage.one("SELECT count(*) FROM usage_segment") == 1


async def test_a_day_that_readers_hold_is_tried_again(stage: Stage) -> None:
    await used(stage)
    stage.clock.advance(36 * 86_400)
    async with stage.ctx.db.begin() as reader:
        await reader.execute(text("SELECT count(*) FROM usage_segment"))
        assert await tend_days(stage.ctx, POLICY) == []
    assert len(await tend_days(stage.ctx, POLICY)) == 1


@pytest.mark.parametrize("day", ["2020-01-01", "2027-03-01"])
async def test_usage_of_a_day_that_is_gone_is_parked(stage: Stage, day: str) -> None:
    terms, start = await stage.ready_lease(), stage.now
    stage.clock.advance(2)
    piece = stage.segment(terms, await stage.rich(), start, start + NS, day=day)
    await stage.gateway.send([piece])
    assert await stage.one("SELECT reason FROM parked_segment") == "its day is gone"
    assert await broken(stage.ctx) == []


async def test_an_entry_of_no_transaction_is_refused(ctx: Ctx) -> None:
    with pytest.raises(DBAPIError, match="There is no transaction"):
        async with ctx.db.begin() as tx:
            await tx.execute(text("INSERT INTO journal_entry VALUES ('tx_0', 1, 'a', 'USD', 0)"))


async def reported(stage: Stage, requests: int) -> LeaseId:
    """A lease with so many requests of a second, all reported."""
    terms, account = await stage.ready_lease(), stage.account()
    end = stage.now + NS
    await stage.gateway.send(
        [stage.segment(terms, account, stage.now, end) for _ in range(requests)]
    )
    return terms.lease_id


async def test_a_lease_is_folded_without_a_look_at_the_others_of_its_day(stage: Stage) -> None:
    lease = await reported(stage, MINE)
    await reported(stage, OTHERS)
    async with stage.ctx.db.begin() as tx:
        assert not await tx.scalar(text(READ))
        waiting = await segments.unfolded(tx, lease)
        pieces = {piece.key: piece for piece in waiting.pieces}
        done = {key: Folding(piece.end_ns, ticks=7) for key, piece in pieces.items()}
        there = dict(zip(pieces, waiting.days, strict=True))
        await segments.fold(tx, lease, there, pieces, done)
        read = await tx.scalar(text(READ))
    assert len(pieces) == MINE
    assert read <= 3 * MINE
    assert await stage.one("SELECT count(*) FROM usage_segment WHERE settled_ticks = 7") == MINE
    assert await stage.one("SELECT count(*) FROM usage_waiting") == OTHERS


async def test_a_segment_that_is_not_there_is_never_taken_for_folded(stage: Stage) -> None:
    lease = await reported(stage, 1)
    async with stage.ctx.db.begin() as tx:
        waiting = await segments.unfolded(tx, lease)
        lost = {"gone": waiting.pieces[0]._replace(key="gone")}
        there, folding = {"gone": waiting.days[0]}, {"gone": Folding(stage.now + NS)}
        with pytest.raises(DBAPIError, match="there are 0"):
            await segments.fold(tx, lease, there, lost, folding)
