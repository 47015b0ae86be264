"""Limits of a day and a month: reserved where holds are made, whoever asks at once."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import httpx
import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeout

from brain import billing
from brain.billing import Span
from brain.billing.service.gateway import slice_asked
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.errors import OutOfCredit
from kernel.ids import AccountId, HoldId
from kernel.wire.gateway import SliceAnswer, SliceRequest
from tests.integration.brain.billing.stage import RATE, Stage
from tests.integration.brain.invoices.books import Books
from tests.support.brain import signed_up

DOLLAR = 1_000_000_000


@pytest.fixture
def stage(ctx: Ctx, clock: ManualClock) -> Stage:
    return Stage(ctx, clock)


async def limit(ctx: Ctx, account: AccountId, **nano: int | None) -> None:
    async with ctx.db.begin() as tx:
        await billing.set_limits(tx, account, {Span(name): n for name, n in nano.items()})


async def left(ctx: Ctx, account: AccountId) -> dict[str, tuple[int, int]]:
    async with ctx.db.begin() as tx:
        found = await billing.limited(tx, account, ctx.clock.now())
    return {one.span.value: (one.spent_nano, one.left_nano) for one in found}


async def slice_of(stage: Stage, account: AccountId, need: int) -> SliceAnswer:
    """Asked again, as gateways do, where a busy machine has no connection for it in time."""
    id = str(stage.ctx.ids.new(HoldId))
    while True:
        with suppress(PoolTimeout):
            return await slice_asked(
                stage.ctx, SliceRequest(id, "boot_1", str(account), need, need)
            )


@pytest.mark.feature("G6")
async def test_a_thousand_at_once_with_a_limit_for_seven(stage: Stage) -> None:
    account = await stage.rich(dollars=1000)
    await limit(stage.ctx, account, day=7 * DOLLAR)
    tried = await asyncio.gather(
        *(slice_of(stage, account, DOLLAR) for _ in range(100)), return_exceptions=True
    )
    assert sum(isinstance(one, SliceAnswer) for one in tried) == 7
    refused = [one for one in tried if isinstance(one, OutOfCredit)]
    assert {one.error_code for one in refused} == {"spending_limit"}
    assert len(refused) == 93


@pytest.mark.feature("G6")
async def test_a_slice_is_cut_to_what_the_limit_leaves(stage: Stage) -> None:
    account = await stage.rich(dollars=100)
    await limit(stage.ctx, account, day=3 * DOLLAR)
    id = str(stage.ctx.ids.new(HoldId))
    asked = SliceRequest(id, "boot_1", str(account), 20 * DOLLAR, DOLLAR)
    assert (await slice_asked(stage.ctx, asked)).granted_nano == 3 * DOLLAR


@pytest.mark.feature("G6")
async def test_a_day_begins_anew_and_a_month_goes_on(stage: Stage, clock: ManualClock) -> None:
    books, account = Books(stage), await stage.rich(dollars=100)
    await limit(stage.ctx, account, day=2 * DOLLAR, month=3 * DOLLAR)
    spent = 0
    for _ in range(3):
        await books.volume(account, 1000, 5)
        spent += 700_000_000
        found = await left(stage.ctx, account)
        assert found["day"] == (700_000_000, 1_300_000_000)
        assert found["month"] == (spent, 3 * DOLLAR - spent)
        clock.advance(86_400)
    assert (await left(stage.ctx, account))["day"] == (0, 2 * DOLLAR)


@pytest.mark.feature("G6")
async def test_a_running_lease_ends_at_the_limit(stage: Stage) -> None:
    account = await stage.rich(dollars=100)
    await limit(stage.ctx, account, day=RATE // 60 * 5)
    lease = await stage.ready_lease(payer=account, mode="dedicated", provider=None)
    minutes = 0
    while not await stopped(stage, account):
        stage.clock.advance(10)
        minutes += 1
        assert minutes < 60
        await stage.alive(lease)
        await billing.accrue_due(stage.ctx)
    assert 4 * 6 - 6 <= minutes <= 5 * 6
    said = await stage.one("SELECT reason FROM account_standing")
    assert said == "its spending limit of the day is reached"


async def stopped(stage: Stage, account: AccountId) -> bool:
    async with stage.ctx.db.begin() as tx:
        return await billing.account_stopped(tx, account)


@pytest.mark.feature("G6")
async def test_a_lease_is_not_opened_beyond_the_limit(stage: Stage) -> None:
    account = await stage.rich(dollars=100)
    await limit(stage.ctx, account, month=10)
    with pytest.raises(OutOfCredit, match="limit of"):
        await stage.ready_lease(payer=account, mode="dedicated", provider=None)


@pytest.mark.feature("G6")
async def test_limits_are_set_and_shown_over_http(brain: httpx.AsyncClient) -> None:
    user, place = await signed_up(brain), "/api/v1/billing/limits"
    body = {"day_nano": 5 * DOLLAR, "month_nano": None}
    made = await brain.put(place, json=body, headers=user.headers)
    assert [(one["span"], one["left_usd"]) for one in made.json()] == [("day", "$5.00")]
    gone = {"day_nano": None, "month_nano": None}
    assert (await brain.put(place, json=gone, headers=user.headers)).json() == []
    for wrong in ({"day_nano": -1, "month_nano": None}, {"day_nano": 1}, {**gone, "x": 1}):
        assert (await brain.put(place, json=wrong, headers=user.headers)).status_code == 422
