"""The offers' list over HTTP: filters, order, pages, ages, and reasons."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from brain.offers import Outcome, OutcomeKind, record, refresh_due
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.money import NANO
from tests.support.brain import Somebody, admin, api_key, signed_up
from tests.support.told import TellingCloud, told

URL = "/api/v1/offers"
TOLD = (
    told("l4"),
    told("a100", gpu_name="NVIDIA A100 80GB", vram_mib=81920, price_nano=NANO, region="us"),
    told("h100x8", gpu_name="NVIDIA H100 80GB", vram_mib=81559, price_nano=2 * NANO, gpus=8),
    told("cheap", price_nano=NANO // 5, spot=True, secure=False, host="h7", free=2),
)


@pytest.fixture
async def who(brain: httpx.AsyncClient, ctx: Ctx) -> Somebody:
    await refresh_due(ctx, {"first": TellingCloud(told=list(TOLD))})
    return await signed_up(brain)


async def ask(brain: httpx.AsyncClient, who: Somebody, **asked: Any) -> dict[str, Any]:
    answer = await brain.get(URL, params=asked, headers=who.headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def keys(found: dict[str, Any]) -> list[str]:
    return [item["offer"].removeprefix("first/") for item in found["items"]]


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["cheap", "l4", "a100", "h100x8"]),
    ({"gpu": "a100"}, ["a100"]),
    ({"cloud": "first", "region": "us"}, ["a100"]),
    ({"cloud": "nodes"}, []),
    ({"min_vram_gib": 80}, ["a100", "h100x8"]),
    ({"max_price": "0.6"}, ["cheap", "l4"]),
    ({"spot": "true"}, ["cheap"]),
    ({"spot": "false", "max_price": "1"}, ["l4"]),
    ({"count": 2}, ["h100x8"]),
    ({"secure": "false"}, ["cheap"]),
]


@pytest.mark.feature("B5")
async def test_offers_are_filtered_and_the_cheapest_comes_first(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    for asked, expected in FILTERS:
        assert keys(await ask(brain, who, **asked)) == expected, asked


@pytest.mark.feature("B5")
async def test_pages_follow_each_other(brain: httpx.AsyncClient, who: Somebody) -> None:
    first = await ask(brain, who, limit=3)
    rest = await ask(brain, who, limit=3, cursor=first["next"])
    assert keys(first) + keys(rest) == ["cheap", "l4", "a100", "h100x8"]
    assert rest["next"] is None


@pytest.mark.feature("B5")
async def test_an_offer_shows_its_price_kind_and_age(
    brain: httpx.AsyncClient, who: Somebody, clock: ManualClock
) -> None:
    clock.advance(7)
    (shown,) = (await ask(brain, who, gpu="h100"))["items"]
    assert (shown["cloud"], shown["node_id"], shown["gpus_total"]) == ("first", None, 8)
    assert (shown["price_usd_per_gpu_hour"], shown["price_usd_per_hour"]) == ("2.40", "19.20")
    assert (shown["secure"], shown["spot"], shown["age_seconds"]) == (True, False, 7.0)


@pytest.mark.feature("B6")
async def test_what_rests_says_why_and_until_when(
    brain: httpx.AsyncClient, who: Somebody, ctx: Ctx, clock: ManualClock
) -> None:
    lost = Outcome("first", "us", "NVIDIA A100 80GB", "", OutcomeKind.NO_CAPACITY)
    async with ctx.db.begin() as tx:
        await record(tx, lost, clock.now_ns())
    clock.advance(2)
    (shown,) = (await ask(brain, who, gpu="a100"))["items"]
    assert (shown["withheld"], shown["again_in_seconds"]) == ("There was no capacity.", 28)
    assert keys(await ask(brain, who, gpu="a100", available="true")) == []


@pytest.mark.feature("B6")
async def test_administrators_see_how_clouds_are_read_and_what_rests(
    brain: httpx.AsyncClient, who: Somebody, ctx: Ctx, clock: ManualClock
) -> None:
    broken = Outcome("first", "", "", "", OutcomeKind.BROKE, detail="balance -3")
    async with ctx.db.begin() as tx:
        await record(tx, broken, clock.now_ns())
    clock.advance(5)
    assert (await brain.get("/api/v1/admin/offers", headers=who.headers)).status_code == 403
    boss = await admin(brain, ctx)
    shown = (await brain.get("/api/v1/admin/offers", headers=boss.headers)).json()
    (source,), (block,) = shown["sources"], shown["blocks"]
    assert (source["cloud"], source["age_seconds"], source["failure"]) == ("first", 5.0, "")
    assert (block["kind"], block["region"], block["resting_seconds"]) == ("broke", "*", 595)


async def test_a_key_with_read_scope_may_ask(brain: httpx.AsyncClient, who: Somebody) -> None:
    reader = {"authorization": f"Bearer {await api_key(brain, who, 'read')}"}
    assert (await brain.get(URL, headers=reader)).status_code == 200
    assert (await brain.get(URL)).status_code == 401


BAD: list[dict[str, Any]] = [
    {"count": 0},
    {"max_price": "-1"},
    {"spot": "perhaps"},
    {"limit": 201},
    {"cursor": "WyJhIl0"},
]


async def test_what_makes_no_sense_is_refused(brain: httpx.AsyncClient, who: Somebody) -> None:
    for asked in BAD:
        answer = await brain.get(URL, params=asked, headers=who.headers)
        assert answer.status_code in {400, 422}, asked
