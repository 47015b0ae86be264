"""Whatever is cancelled in the middle of writing, at any await: nothing is lost or doubled."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from brain.billing import Asset, Entry, Posting, lease_closed, post, settle_due
from brain.billing.service.gateway import usage_reported
from brain.costs import Cost, Recorder
from brain.plumbing import Ctx
from kernel.clock import NS, ManualClock
from kernel.ids import TxId
from kernel.wire.gateway import UsageBatch, Watermark
from tests.integration.brain.billing.stage import Stage
from tests.integration.brain.billing.test_many_at_once import broken
from tests.support.cut_off import at_every_await

pytestmark = pytest.mark.feature("G3", "G5")
PIECES = 8


@pytest.fixture
async def stage(ctx: Ctx, clock: ManualClock) -> Stage:
    made = Stage(ctx, clock)
    await made.gateway.hello()
    return made


async def used(stage: Stage) -> tuple[UsageBatch, str]:
    """A closed lease of the pool with so many requests of a second, and who is to pay."""
    terms, account, start = await stage.ready_lease(), await stage.rich(), stage.now
    stage.clock.advance(PIECES)
    pieces = [
        stage.segment(terms, account, start + n * NS, start + (n + 1) * NS) for n in range(PIECES)
    ]
    pieces[7].epoch += 1  # this one is parked
    async with stage.ctx.db.begin() as tx:
        await lease_closed(tx, terms.lease_id, stage.now, "gone")
    until = stage.gateway.mine(stage.now)
    marks = [Watermark(str(terms.replica_id), until)]
    return UsageBatch("boot_1", "gw", until, pieces, marks), str(account)


@pytest.mark.parametrize("character", ["m", "\x00"], ids=["at_once", "in_parts"])
async def test_usage_is_taken_in_once(stage: Stage, character: str) -> None:
    batch, _ = await used(stage)
    batch.segments[3].model = character  # with NUL the batch is taken in by halves
    wrong = 1 + (character == "\x00")
    assert await at_every_await(lambda: usage_reported(stage.ctx, batch)) > 5
    assert await stage.one("SELECT count(*) FROM usage_segment") == PIECES - wrong
    assert await stage.one("SELECT count(*) FROM usage_waiting") == PIECES - wrong
    assert await stage.one("SELECT count(*) FROM parked_segment") == wrong


async def test_a_window_is_settled_once(stage: Stage) -> None:
    batch, account = await used(stage)
    await usage_reported(stage.ctx, batch)
    before = await stage.posted(account)
    assert await at_every_await(lambda: settle_due(stage.ctx)) > 5
    assert before - await stage.posted(account) == (PIECES - 1) * 10**6
    assert await stage.one("SELECT count(*) FROM usage_waiting") == 0
    assert await broken(stage.ctx) == []


async def test_money_is_moved_once(stage: Stage) -> None:
    entries = (Entry("test:a", Asset.USD, -7), Entry("test:b", Asset.USD, 7))

    def once() -> Posting:
        return Posting(stage.ctx.ids.new(TxId), "the same", "test", "", entries)

    assert await at_every_await(lambda: post(stage.ctx, once())) >= 1
    assert await stage.posted("test:b") == 7


async def test_a_cost_is_written_once(ctx: Ctx) -> None:
    recorder = Recorder(ctx, b"k" * 32)
    for number in range(PIECES):
        recorder.record(Cost("llm", "openai", "m", "token", 1, number))
    cut_off = await at_every_await(recorder.flush)
    async with ctx.db.begin() as tx:
        assert await tx.scalar(text("SELECT count(*) FROM cost_record")) == PIECES
    assert cut_off > 2
