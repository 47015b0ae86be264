"""Automatic refill by the public API: opt-in, one at a time, patient after refusals, capped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select

from brain.payments.models import TopUp
from brain.payments.store import TRIED_MAX, spent_by_itself
from kernel.ids import TopUpId
from kernel.money import Money
from tests.integration.brain.payments.test_going_back import spend
from tests.support.payments import Till

RULE = {"enabled": True, "threshold_usd": "10", "amount_usd": "25"}


async def opted_in(till: Till, card: str = "pm_card_visa", **more: Any) -> None:
    await till.save_card(card)
    await till.put("/auto-refill", RULE | more)


async def tries(till: Till) -> list[str]:
    return [one["state"] for one in (await till.get("/topups"))["items"]]


@pytest.mark.feature("H2")
async def test_below_the_threshold_credit_is_topped_up(till: Till) -> None:
    await opted_in(till)
    await till.pass_time(10)
    await spend(till, "14")
    await till.pass_time(10)
    assert (till.charges(), await till.balance()) == ([2500], "$11.00")
    await spend(till, "2")
    await till.pass_time(10)
    assert (till.charges(), await till.balance()) == ([2500, 2500], "$34.00")


async def test_nobody_is_charged_who_did_not_opt_in(till: Till) -> None:
    await till.save_card()
    await till.pass_time(3600)
    assert (till.charges(), (await till.get("/auto-refill"))["enabled"]) == ([], False)


@pytest.mark.feature("H2")
async def test_a_burst_of_looks_begins_one(till: Till) -> None:
    await opted_in(till)
    await asyncio.gather(*(till.tick() for _ in range(8)))
    await till.pass_time(10)
    assert (till.charges(), await tries(till)) == ([2500], ["paid"])


@pytest.mark.feature("H2")
async def test_after_a_refusal_the_next_try_waits_an_hour(till: Till) -> None:
    await opted_in(till, "pm_card_chargeCustomerFail")
    for _ in range(12):
        await till.pass_time(600)  # two hours
    assert await tries(till) == ["failed", "failed"]
    assert till.charges() == []


async def test_a_card_that_is_always_refused_turns_it_off(till: Till) -> None:
    await opted_in(till, "pm_card_chargeCustomerFail")
    for _ in range(10):
        await till.pass_time(3700)
    rule = await till.get("/auto-refill")
    assert (len(await tries(till)), rule["enabled"]) == (8, False)
    assert "refused 8 times" in rule["said"]


async def test_a_card_that_was_stolen_is_tried_once(till: Till) -> None:
    card = await till.save_card()
    await till.own(f"cards/{card}", {"decline": "stolen_card"})
    await till.put("/auto-refill", RULE)
    for _ in range(3):
        await till.pass_time(3700)
    rule = await till.get("/auto-refill")
    assert (await tries(till), rule["enabled"]) == (["failed"], False)
    assert "another card" in rule["said"]


async def test_a_bank_that_asks_for_its_payer_holds_the_next_try(till: Till) -> None:
    await opted_in(till, "pm_card_authenticationRequired")
    for _ in range(4):
        await till.pass_time(3700)
    (made,) = (await till.get("/topups"))["items"]
    whole = await till.topup(made)
    assert (whole["state"], whole["automatic"]) == ("needs_payer", True)
    assert whole["client_secret"]


@pytest.mark.feature("H2")
async def test_the_caps_of_day_and_month_hold(till: Till) -> None:
    await opted_in(till, day_max_usd="50", month_max_usd="75")
    for day in range(3):
        for hour in range(4):
            await spend(till, f"{20 + day}.0{hour}")
            await till.pass_time(6 * 3600)
    assert till.charges() == [2500] * 3
    assert "cap" in (await till.get("/auto-refill"))["said"]


async def test_a_cap_counts_more_than_the_newest_tries(till: Till) -> None:
    await opted_in(till)
    await till.pass_time(10)
    now = till.clock.now()
    async with till.ctx.db.begin() as tx:
        (row,) = await tx.scalars(select(TopUp))
        own = {c.name: getattr(row, c.name) for c in TopUp.__table__.columns}
        for _ in range(TRIED_MAX + 10):
            fresh = {"topup_id": till.ctx.ids.new(TopUpId), "reference": None, "payment": None}
            tx.add(TopUp(**own | fresh))
        await tx.flush()
        spent = await spent_by_itself(tx, till.account, now)
        await tx.rollback()
    assert spent.day == spent.month == Money.usd(str(25 * (TRIED_MAX + 11)))


async def test_it_needs_a_card_and_sane_caps(till: Till) -> None:
    answer = await till.client.put(
        "/api/v1/payments/auto-refill", json=RULE, headers=till.who.headers
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "no_card")
    await till.save_card()
    wrong = RULE | {"day_max_usd": "20"}
    answer = await till.client.put(
        "/api/v1/payments/auto-refill", json=wrong, headers=till.who.headers
    )
    assert answer.status_code == 422


async def test_a_removed_card_is_not_charged(till: Till) -> None:
    card = await till.save_card()
    await till.put("/auto-refill", RULE)
    url = f"/api/v1/payments/cards/{card}"
    assert (await till.client.delete(url, headers=till.who.headers)).status_code == 204
    await till.pass_time(60)
    assert (till.charges(), (await till.get("/cards"))["cards"]) == ([], [])


async def test_a_new_default_card_is_tried_an_hour_later(till: Till) -> None:
    await opted_in(till, "pm_card_chargeCustomerFail")
    await till.pass_time(10)
    fresh = await till.save_card("pm_card_mastercard")
    await till.put(f"/cards/{fresh}/default")
    await till.pass_time(3700)
    assert (await tries(till), till.charges()) == (["paid", "failed"], [2500])
