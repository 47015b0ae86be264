"""Webhooks: forged ones do nothing, and any number and order of real ones credits once."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
import stripe

from kernel.clock import NS
from standins.payments.stripe import SECRET
from standins.payments.stripe.hooks import Manners
from tests.support.payments import HOOK, Till


async def told(till: Till, text: str, *, secret: str = SECRET, age: int = 0) -> httpx.Response:
    at = till.clock.now_ns() // NS - age
    signed = stripe.WebhookSignature.generate_signature_header(text, secret, at)
    return await till.client.post(HOOK, content=text, headers={"stripe-signature": signed})


def event(topup_id: str, reference: str) -> str:
    paid = {"id": reference, "metadata": {"topup": topup_id}, "status": "succeeded"}
    told = {"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": paid}}
    return json.dumps(told)


@pytest.mark.feature("H1")
async def test_a_forged_or_old_message_is_refused(till: Till) -> None:
    text = event("topup_" + "0" * 32, "pi_1")
    bare = await till.client.post(HOOK, content=text)
    forged = await told(till, text, secret="whsec_other")
    old = await told(till, text, age=301)
    assert [one.status_code for one in (bare, forged, old)] == [400, 400, 400]
    assert {one.json()["code"] for one in (bare, forged, old)} == {"not_signed"}


async def test_nonsense_that_is_signed_is_refused(till: Till) -> None:
    for text in ("", "[]", "null", "{}", '{"id": 1}', "\x00", '{"type": []}'):
        assert (await told(till, text)).status_code == 400, text


async def test_a_message_that_says_paid_is_not_believed(till: Till) -> None:
    made = await till.top_up("40", method="page")
    answer = await told(till, event(made["topup_id"], "pi_forged"))
    await till.pass_time(1)
    assert (answer.status_code, await till.balance()) == (204, "$0.00")


async def test_a_storm_of_messages_in_any_order_credits_once(till: Till) -> None:
    till.world.shell.hooks.manners = Manners(copies=(1, 20), delay_seconds=(0, 30), forge=0.3)
    await till.save_card()
    pages = [await till.top_up("40", method="page") for _ in range(3)]
    for page in pages:
        await till.pay_page(page["url"])
    for _ in range(8):
        till.clock.advance(5)
        await asyncio.gather(till.world.deliver(), till.tick(), till.tick())
    assert (await till.balance(), len(await till.bookings())) == ("$120.00", 3)
    assert await till.broken() == []


async def test_a_message_before_our_own_commit_is_not_lost(till: Till) -> None:
    till.world.shell.hooks.manners = Manners(first=True)  # before the answer of the call itself
    await till.save_card()
    made = await till.top_up("25")
    await till.pass_time(5)
    assert (made["state"], await till.bookings()) == ("paid", [("purchase", "$25.00")])


async def test_without_any_message_the_processor_is_polled(till: Till) -> None:
    till.world.shell.hooks.manners = Manners(drop=1.0)
    made = await till.top_up("40", method="page")
    await till.pay_page(made["url"])
    await till.pass_time(10)
    assert await till.balance() == "$40.00"


async def test_what_is_paid_after_it_was_given_up_is_credited(till: Till) -> None:
    till.world.shell.hooks.manners = Manners(hold=True)
    made = await till.top_up("40", method="page")
    await till.pay_page(made["url"])
    ended = await till.post(f"/topups/{made['topup_id']}/cancel", status=200)
    assert (ended["state"], await till.balance()) == ("paid", "$40.00")
