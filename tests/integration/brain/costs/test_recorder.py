"""Costs: buffered, written within ten seconds, none lost at a stop and none twice."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from sqlalchemy import text

from brain.costs import Cost, Recorder
from brain.costs import recorder as module
from brain.costs.models import CostRow
from brain.plumbing import Ctx
from kernel.ids import AccountId
from tests.support.wait import until

ACCOUNT = AccountId("acct_" + "a" * 32)
KEY = b"k" * 32


def a_cost(nano: int = 1500) -> Cost:
    return Cost("llm", "openai", "gpt-4o", "token", 10, nano, ACCOUNT)


async def written(ctx: Ctx) -> int:
    async with ctx.db.begin() as tx:
        return int(await tx.scalar(text("SELECT count(*) FROM cost_record")) or 0)


@pytest.mark.feature("L1")
async def test_what_is_recorded_is_written_soon(ctx: Ctx) -> None:
    recorder = Recorder(ctx, KEY)
    recorder.start()
    for _ in range(1000):
        recorder.record(a_cost())

    async def all_there() -> bool:
        return await written(ctx) == 1000

    assert await until(all_there, 30)
    await recorder.close()


@pytest.mark.feature("L1")
async def test_nothing_is_lost_at_a_stop(ctx: Ctx) -> None:
    recorder = Recorder(ctx, KEY)
    recorder.start()
    await asyncio.gather(*(_some(recorder) for _ in range(20)))
    await recorder.close()
    assert await written(ctx) == 20 * 77


async def _some(recorder: Recorder) -> None:
    for number in range(77):
        recorder.record(a_cost(number))
        if number % 9 == 0:
            await asyncio.wait_for(recorder.flush(), 10)


@pytest.mark.feature("L1")
async def test_a_flush_that_is_cut_loses_and_doubles_nothing(ctx: Ctx) -> None:
    recorder = Recorder(ctx, KEY)
    for number in range(3000):
        recorder.record(a_cost(number))
    for turns in range(30):
        flushing = asyncio.create_task(recorder.flush())
        for _ in range(turns):
            await asyncio.wait({flushing}, timeout=0.0005)
        flushing.cancel()
        await asyncio.gather(flushing, return_exceptions=True)
    await recorder.close()
    assert await written(ctx) == 3000


@pytest.mark.feature("L1")
@pytest.mark.parametrize("turns", range(4))
async def test_it_stops_in_the_moment_in_which_a_batch_gets_full(
    ctx: Ctx, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    monkeypatch.setattr(module, "BATCH", 1)
    recorder = Recorder(ctx, KEY)
    recorder.start()
    await until(lambda: recorder._full._waiters)
    recorder.record(a_cost())
    for _ in range(turns):
        await asyncio.sleep(0)
    done, _ = await asyncio.wait({asyncio.create_task(recorder.close())}, timeout=30)
    assert done
    assert await written(ctx) == 1


@pytest.mark.feature("L1")
async def test_switched_off_it_records_nothing_and_keeps_what_there_is(ctx: Ctx) -> None:
    on, off = Recorder(ctx, KEY), Recorder(ctx, KEY, enabled=False)
    for recorder in (on, off):
        recorder.record(a_cost())
        await recorder.close()
    assert await written(ctx) == 1


@pytest.mark.feature("L1")
async def test_users_are_keyed_hashes(ctx: Ctx) -> None:
    one, other = Recorder(ctx, KEY), Recorder(ctx, b"x" * 32)
    one.record(a_cost())
    await one.close()
    async with ctx.db.begin() as tx:
        row = (await tx.execute(text("SELECT * FROM cost_record"))).mappings().one()
    assert row["who"] == one.who(ACCOUNT) != other.who(ACCOUNT)
    assert ACCOUNT not in str(dict(row))
    named = set(CostRow.__table__.columns.keys())
    assert named == {
        *("id", "kind", "provider", "model", "unit", "units", "cost_nano", "who", "created_at"),
        *("subject", "key_id", "source"),
    }


@pytest.mark.feature("L1")
async def test_the_seeds_own_query_answers(ctx: Ctx) -> None:
    recorder = Recorder(ctx, KEY)
    recorder.record(a_cost(2_500_000_000))
    await recorder.close()
    async with ctx.db.begin() as tx:
        asked = text("SELECT type, provider, cost, created_at FROM cost_tracking")
        row = (await tx.execute(asked)).one()
    assert (row.type, row.provider, row.cost) == ("llm", "openai", Decimal("2.5"))
