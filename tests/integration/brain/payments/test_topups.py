"""Top-ups through the public API, with Stripe's library and an emulated Stripe behind it."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.brain import signed_up
from tests.support.payments import PAYMENTS, Till


@pytest.mark.feature("H1")
async def test_a_saved_card_pays_and_its_credit_is_there_at_once(till: Till) -> None:
    await till.save_card()
    made = await till.top_up("25")
    assert (made["state"], await till.balance(), till.charges()) == ("paid", "$25.00", [2500])
    await till.pass_time(60)
    assert await till.bookings() == [("purchase", "$25.00")]
    assert await till.broken() == []


@pytest.mark.feature("H1")
async def test_a_page_is_paid_at_the_processor_and_told_by_its_message(till: Till) -> None:
    made = await till.top_up("40", method="page")
    assert made["state"] == "needs_payer"
    await till.pay_page(made["url"])
    await till.pass_time(1)
    assert ((await till.topup(made))["state"], await till.balance()) == ("paid", "$40.00")


async def test_of_many_at_once_as_many_wait_as_may(till: Till) -> None:
    body = {"amount_usd": "40", "method": "page"}
    await till.get("/cards")  # its customer is known
    asks = [
        till.client.post(PAYMENTS + "/topups", json=body, headers=till.who.headers)
        for _ in range(9)
    ]
    answers = await asyncio.gather(*asks)
    assert sorted(one.status_code for one in answers) == [201] * 5 + [409] * 4


async def test_credits_are_bought_at_their_price(till: Till) -> None:
    await till.save_card()
    made = await till.post("/topups", {"credits": 123_456})
    assert (made["amount_usd"], till.charges()) == ("$12.35", [1235])


async def test_a_refused_card_is_told_and_takes_nothing(till: Till) -> None:
    await till.save_card("pm_card_chargeCustomerFail")
    made = await till.top_up("25")
    assert (made["state"], made["needs_new_card"]) == ("failed", False)
    assert "declined" in made["reason"]
    await till.pass_time(3600)
    assert (await till.balance(), till.charges(), await till.broken()) == ("$0.00", [], [])


async def test_a_bank_that_wants_to_see_the_payer_is_passed_on(till: Till) -> None:
    await till.save_card("pm_card_authenticationRequired")
    made = await till.top_up("25")
    assert (made["state"], await till.balance()) == ("needs_payer", "$0.00")
    assert made["client_secret"].startswith("pi_")
    assert made["url"]
    await till.own(f"authenticate/{made['client_secret'].split('_secret')[0]}", {"pass": True})
    await till.pass_time(1)
    assert ((await till.topup(made))["state"], await till.balance()) == ("paid", "$25.00")


async def test_a_repeat_with_the_same_key_charges_once(till: Till) -> None:
    await till.save_card()
    body = {"amount_usd": "25"}
    first = await till.post("/topups", body, key="k")
    again = await till.post("/topups", body, key="k")
    assert (first["topup_id"], till.charges()) == (again["topup_id"], [2500])


async def test_amounts_outside_the_limits_are_refused(till: Till) -> None:
    await till.save_card()
    for amount in ("4.99", "10000.01", "0"):
        told = await till.post("/topups", {"amount_usd": amount}, status=422)
        assert "between $5.00 and $10,000.00" in told["detail"]
    assert till.charges() == []


async def test_without_a_card_the_page_is_named(till: Till) -> None:
    told = await till.post("/topups", {"amount_usd": "25"}, status=409)
    assert (told["code"], "page" in told["detail"]) == ("no_card", True)


async def test_a_page_that_is_called_off_cannot_be_paid(till: Till) -> None:
    made = await till.top_up("40", method="page")
    ended = await till.post(f"/topups/{made['topup_id']}/cancel", status=200)
    assert ended["state"] == "expired"
    sessions = till.world.book.platform.table("checkout.session").values()
    assert [session["status"] for session in sessions] == ["expired"]


async def test_a_page_that_nobody_pays_expires(till: Till) -> None:
    made = await till.top_up("40", method="page")
    await till.pass_time(23 * 3600 + 1)
    await till.pass_time(700)
    assert (await till.topup(made))["state"] == "expired"


async def test_pages_do_not_pile_up(till: Till) -> None:
    for _ in range(5):
        await till.top_up("40", method="page")
    told = await till.post("/topups", {"amount_usd": "40", "method": "page"}, status=409)
    assert told["code"] == "too_many_open"


async def test_a_receipt_says_what_was_paid(till: Till) -> None:
    await till.save_card()
    made = await till.top_up("25")
    told = await till.get(f"/topups/{made['topup_id']}/receipt")
    assert (told["amount"], told["paid_by"], told["ledger_key"]) == (
        "$25.00",
        "visa ending in 4242",
        f"topup/{made['topup_id']}",
    )


async def test_anothers_top_up_is_not_there(till: Till) -> None:
    await till.save_card()
    made = await till.top_up("25")
    stranger = await signed_up(till.client)
    for path in ("", "/receipt"):
        url = f"{PAYMENTS}/topups/{made['topup_id']}{path}"
        assert (await till.client.get(url, headers=stranger.headers)).status_code == 404
