"""The price list: the figures that are sold, new rows that change nothing before them, losses."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from brain import billing
from brain.billing import Grant, grant
from brain.paperwork import first_price
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.ids import AccountId
from tests.support.brain import Somebody, settings_for_tests, signed_up
from tests.support.brain import admin as administrator

# K4: thousandths of a credit for so many units.
LIST = {
    "gpt-4o-mini": ("token", 1000, "1"),
    "gpt-4o": ("token", 1000, "8"),
    "gpt-4": ("token", 1000, "25"),
    "cartesia": ("character", 1000, "0.8"),
    "deepgram": ("second", 60, "8"),
    "twilio": ("minute", 1, "20"),
    "livekit": ("minute", 1, "12"),
    "vision-low": ("image", 1, "40"),
    "vision-high": ("image", 1, "50"),
}


@pytest.fixture
async def somebody(brain: httpx.AsyncClient) -> Somebody:
    return await signed_up(brain)


@pytest.fixture
async def admin(brain: httpx.AsyncClient, ctx: Ctx) -> Somebody:
    return await administrator(brain, ctx)


def a_price(**changed: object) -> dict[str, object]:
    return {
        "service": "gpt-4o",
        "provider": "openai",
        "model": "gpt-4o",
        "unit": "token",
        "per": 1000,
        "milli_credits": 120_000,
        "vendor_nano_min": 2_500_000,
        "vendor_nano_max": 10_000_000,
        "source": "price list of today",
        **changed,
    }


@pytest.mark.feature("K4")
async def test_the_price_list_is_the_one_that_is_sold(
    brain: httpx.AsyncClient, somebody: Somebody
) -> None:
    shown = (await brain.get("/api/v1/prices", headers=somebody.headers)).json()
    found = {p["service"]: (p["unit"], p["per"], p["credits"]) for p in shown["prices"]}
    assert found == LIST
    assert shown["credit_price_usd"] == "$0.0001"


@pytest.mark.feature("K4")
@pytest.mark.parametrize(
    ("service", "units", "milli", "usd"),
    [
        ("gpt-4o-mini", 1, 1, "$0.0000001"),
        ("gpt-4o", 1500, 12_000, "$0.0012"),
        ("cartesia", 250, 200, "$0.00002"),
        ("deepgram", 90, 12_000, "$0.0012"),
        ("vision-high", 2, 100_000, "$0.01"),
    ],
)
async def test_a_quote_is_exact(
    brain: httpx.AsyncClient, somebody: Somebody, service: str, units: int, milli: int, usd: str
) -> None:
    asked = {"name": service, "units": units}
    got = await brain.get("/api/v1/prices/quote", params=asked, headers=somebody.headers)
    assert (got.json()["milli_credits"], got.json()["usd"]) == (milli, usd)


@pytest.mark.feature("K4")
async def test_a_new_price_changes_nothing_before_it(
    brain: httpx.AsyncClient, admin: Somebody, ctx: Ctx, clock: ManualClock
) -> None:
    before, later = clock.now(), clock.now() + timedelta(minutes=10)
    body = a_price(starts_at=later.isoformat())
    made = await brain.post("/api/v1/admin/prices", json=body, headers=admin.headers)
    assert made.status_code == 201, made.text
    clock.advance(1200)
    asked = {"name": "gpt-4o", "units": 1000}
    now = await brain.get("/api/v1/prices/quote", params=asked, headers=admin.headers)
    past = {**asked, "at": before.isoformat()}
    then = await brain.get("/api/v1/prices/quote", params=past, headers=admin.headers)
    assert (now.json()["milli_credits"], then.json()["milli_credits"]) == (120_000, 8_000)
    assert now.json()["version"] != then.json()["version"]


@pytest.mark.feature("K4")
async def test_a_price_in_the_past_is_refused(
    brain: httpx.AsyncClient, admin: Somebody, clock: ManualClock
) -> None:
    past = (clock.now() - timedelta(seconds=31)).isoformat()
    answer = await brain.post(
        "/api/v1/admin/prices", json=a_price(starts_at=past), headers=admin.headers
    )
    assert (answer.status_code, answer.json()["param"]) == (422, "starts_at")


@pytest.mark.feature("K4")
async def test_a_price_without_a_moment_begins_though_time_goes_on(
    brain: httpx.AsyncClient, admin: Somebody, clock: ManualClock
) -> None:
    late = (clock.now() - timedelta(seconds=1)).isoformat()
    answer = await brain.post(
        "/api/v1/admin/prices", json=a_price(starts_at=late), headers=admin.headers
    )
    assert answer.status_code == 201
    assert answer.json()["starts_at"] == clock.now().isoformat().replace("+00:00", "Z")


@pytest.mark.feature("K4")
async def test_the_database_refuses_to_change_a_price(ctx: Ctx) -> None:
    with pytest.raises(DBAPIError, match="immutable"):
        async with ctx.db.begin() as tx:
            await tx.execute(text("UPDATE service_price SET milli_credits = 1"))


@pytest.mark.feature("K4")
async def test_services_sold_below_cost_are_named(
    brain: httpx.AsyncClient, admin: Somebody, clock: ManualClock
) -> None:
    def named(answer: httpx.Response) -> dict[str, str]:
        return {one["service"]: one["margin"] for one in answer.json()}

    place = "/api/v1/admin/prices/margins?losing=true"
    before = named(await brain.get(place, headers=admin.headers))
    assert before["gpt-4o"] == "below cost"
    assert "livekit" not in before
    await brain.post("/api/v1/admin/prices", json=a_price(), headers=admin.headers)
    after = named(await brain.get(place, headers=admin.headers))
    assert "gpt-4o" not in after


@pytest.mark.feature("G4")
async def test_the_price_of_a_credit_is_dated(
    brain: httpx.AsyncClient, admin: Somebody, clock: ManualClock
) -> None:
    before, body = clock.now().isoformat(), {"nano": 200_000}
    clock.advance(60)
    place = "/api/v1/admin/credit-price"
    assert (await brain.post(place, json=body, headers=admin.headers)).status_code == 201
    assert (await brain.post(place, json=body, headers=admin.headers)).status_code == 409
    shown = []
    for asked in ({}, {"at": before}):
        got = await brain.get("/api/v1/prices", params=asked, headers=admin.headers)
        shown.append(got.json()["credit_price_usd"])
    assert shown == ["$0.0002", "$0.0001"]


@pytest.mark.feature("G4")
async def test_the_first_price_is_the_settings_until_something_is_sold(
    ctx: Ctx, database_url: str
) -> None:
    async def price() -> int:
        async with ctx.db.begin() as tx:
            return await billing.credit_price(tx, ctx.clock.now())

    for usd, nano in (("0.0002", 200_000), ("0.0003", 300_000)):
        await first_price(settings_for_tests(database_url, credit_price_usd=usd), ctx)
        assert await price() == nano
    account = ctx.ids.new(AccountId)
    await grant(ctx, Grant(account, "purchase", "card", "k", credits=1))
    await first_price(settings_for_tests(database_url, credit_price_usd="0.0004"), ctx)
    assert await price() == 300_000


@pytest.mark.feature("G4")
async def test_packages_are_data(brain: httpx.AsyncClient, admin: Somebody) -> None:
    async def packages() -> dict[str, tuple[int, int]]:
        got = await brain.get("/api/v1/credits/packages", headers=admin.headers)
        return {p["name"]: (p["credits_min"], p["credits_max"]) for p in got.json()}

    assert await packages() == {
        "Startup": (50_000, 200_000),
        "Growing": (200_000, 1_000_000),
        "Enterprise": (1_000_000, 10_000_000),
    }
    body = {"name": "Growing", "credits_min": 0, "credits_max": 0}
    assert (
        await brain.post("/api/v1/admin/packages", json=body, headers=admin.headers)
    ).status_code == 201
    assert set(await packages()) == {"Startup", "Enterprise"}


@pytest.mark.feature("K4")
async def test_only_administrators_see_margins_and_set_prices(
    brain: httpx.AsyncClient, somebody: Somebody
) -> None:
    seen = await brain.get("/api/v1/admin/prices/margins", headers=somebody.headers)
    tried = await brain.post("/api/v1/admin/prices", json=a_price(), headers=somebody.headers)
    assert (seen.status_code, tried.status_code) == (403, 403)


@pytest.mark.feature("K4")
@pytest.mark.parametrize(
    "wrong", [{"per": 0}, {"milli_credits": -1}, {"service": "NO"}, {"more": 1}, {"unit": "mile"}]
)
async def test_a_price_that_makes_no_sense_is_refused(
    brain: httpx.AsyncClient, admin: Somebody, wrong: dict[str, object]
) -> None:
    answer = await brain.post("/api/v1/admin/prices", json=a_price(**wrong), headers=admin.headers)
    assert answer.status_code == 422


@pytest.mark.feature("K4")
async def test_a_price_below_cost_is_taken_only_where_that_is_meant(
    brain: httpx.AsyncClient, admin: Somebody
) -> None:
    low, place = a_price(milli_credits=8000), "/api/v1/admin/prices"
    refused = await brain.post(place, json=low, headers=admin.headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "below_cost")
    assert "gpt-4o is sold at $0.0008 per 1,000 tokens" in refused.json()["detail"]
    meant = await brain.post(place, json={**low, "below_cost": True}, headers=admin.headers)
    assert meant.status_code == 201


@pytest.mark.feature("K4")
async def test_a_price_of_a_credit_that_makes_more_services_lose_is_refused(
    brain: httpx.AsyncClient, admin: Somebody, clock: ManualClock
) -> None:
    clock.advance(60)
    place, cheap = "/api/v1/admin/credit-price", {"nano": 20_000}
    refused = await brain.post(place, json=cheap, headers=admin.headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "below_cost")
    assert "livekit" in refused.json()["detail"]
    meant = await brain.post(place, json={**cheap, "below_cost": True}, headers=admin.headers)
    assert meant.status_code == 201
