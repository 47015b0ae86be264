"""Limits of API keys: settled use of the shared pool, gateways told, a new day begins anew."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from brain.billing import settle_due
from brain.plumbing import Ctx
from brain.sources import sources
from brain.spending import watch_keys
from kernel.clock import NS, ManualClock
from kernel.ids import AccountId
from kernel.wire.gateway import KeyRow
from tests.integration.brain.billing.stage import POLICY, RATE, Stage
from tests.support.brain import Somebody, signed_up

SECOND_NANO = RATE // 3600


@pytest.fixture
def stage(ctx: Ctx, clock: ManualClock) -> Stage:
    return Stage(ctx, clock)


@pytest.fixture
async def user(brain: httpx.AsyncClient) -> Somebody:
    return await signed_up(brain)


async def made_key(brain: httpx.AsyncClient, user: Somebody, **nano: int | None) -> str:
    body = {"name": "test", "scopes": ["inference"]}
    made = (await brain.post("/api/v1/keys", json=body, headers=user.headers)).json()
    wanted = {"day_nano": nano.get("day"), "month_nano": nano.get("month")}
    place = f"/api/v1/billing/limits/keys/{made['key_id']}"
    set_up = await brain.put(place, json=wanted, headers=user.headers)
    assert set_up.status_code == 200, set_up.text
    return str(made["key_id"])


async def used(stage: Stage, user: Somebody, key: str, seconds: int) -> None:
    """A request with this key in the shared pool, settled."""
    await stage.gateway.hello()
    terms, start = await stage.ready_lease(), stage.now
    stage.clock.advance(10)
    day = f"{stage.ctx.clock.now():%Y-%m-%d}"
    account = AccountId(user.account_id)
    piece = stage.segment(terms, account, start, start + seconds * NS, key_id=key, day=day)
    await stage.gateway.send([piece], replica=str(terms.replica_id), until_ns=stage.now)
    await settle_due(stage.ctx, POLICY)


async def row_of(stage: Stage, key: str) -> KeyRow:
    async with stage.ctx.db.begin() as tx:
        row = await sources(b"s")["key"].one(tx, key)
    assert isinstance(row, KeyRow)
    return row


@pytest.mark.feature("G6")
async def test_a_key_at_its_limit_is_refused_and_others_are_not(
    brain: httpx.AsyncClient, stage: Stage, user: Somebody
) -> None:
    small = await made_key(brain, user, day=5 * SECOND_NANO)
    large = await made_key(brain, user, day=50 * SECOND_NANO)
    for key in (small, large):
        await used(stage, user, key, 5)
    counts = await asyncio.gather(*(watch_keys(stage.ctx) for _ in range(3)))
    assert sum(counts) == 1
    assert "limit of $0.005 a day is reached" in (await row_of(stage, small)).refused
    assert (await row_of(stage, large)).refused == ""


@pytest.mark.feature("G6")
async def test_the_next_day_begins_anew_and_the_month_goes_on(
    brain: httpx.AsyncClient, stage: Stage, user: Somebody, clock: ManualClock
) -> None:
    key = await made_key(brain, user, day=3 * SECOND_NANO, month=7 * SECOND_NANO)
    reached = []
    for _ in range(3):
        await used(stage, user, key, 3)
        await watch_keys(stage.ctx)
        reached.append((await row_of(stage, key)).refused.partition(" a ")[2][:5])
        clock.advance(86_400)
        await watch_keys(stage.ctx)
        reached.append((await row_of(stage, key)).refused.partition(" a ")[2][:5])
    assert reached == ["day i", "", "day i", "", "month", "month"]


@pytest.mark.feature("G6")
async def test_a_raised_limit_opens_the_key_again(
    brain: httpx.AsyncClient, stage: Stage, user: Somebody
) -> None:
    key = await made_key(brain, user, day=1)
    await used(stage, user, key, 1)
    await watch_keys(stage.ctx)
    assert (await row_of(stage, key)).refused
    place = f"/api/v1/billing/limits/keys/{key}"
    await brain.put(place, json={"day_nano": None, "month_nano": None}, headers=user.headers)
    assert (await row_of(stage, key)).refused == ""


@pytest.mark.feature("G6")
async def test_another_accounts_key_is_not_there(brain: httpx.AsyncClient, user: Somebody) -> None:
    key, other = await made_key(brain, user), await signed_up(brain)
    body = {"day_nano": 1, "month_nano": None}
    for id in (key, "key_nonsense"):
        place = f"/api/v1/billing/limits/keys/{id}"
        answer = await brain.put(place, json=body, headers=other.headers)
        assert answer.status_code == 404
