"""Top-ups by mobile money and in USDC over the API: the poll is the truth, a message a hint."""

from __future__ import annotations

import json

import pytest

from standins.payments.front import Fault
from tests.support.payouts import NUMBER
from tests.support.wallets import Wallets

SLOW, REFUSED = "46733123454", "46733123455"


@pytest.mark.feature("H3")
async def test_a_phone_pays_and_is_credited_once_at_the_dated_rate(wallets: Wallets) -> None:
    made = await wallets.top_up("mobile_money", phone=f"+{NUMBER}")
    done = made
    for _ in range(6):
        done = await wallets.seen(made, 10)
    assert (done["state"], await wallets.free()) == ("paid", "$22.00")
    (asked,) = wallets.momo.paid("collection")
    assert (asked.body["amount"], asked.body["currency"]) == ("20.00", "EUR")
    assert wallets.momo.calls["requesttopay"] == 1
    assert await wallets.broken() == []


@pytest.mark.feature("H3")
async def test_a_callback_only_says_where_to_look(wallets: Wallets) -> None:
    made = await wallets.top_up("mobile_money", phone=SLOW)
    await wallets.seen(made)
    forged = {"externalId": made["topup_id"], "status": "SUCCESSFUL", "amount": "9999"}
    for _ in range(3):
        await wallets.http.post("/webhooks/momo", content=json.dumps(forged))
        assert (await wallets.seen(made))["state"] != "paid"
    assert await wallets.free() == "$0.00"
    wallets.clock.advance(26)
    assert await wallets.messages() == [204]
    assert (await wallets.seen(made))["state"] == "paid"
    assert await wallets.free() == "$22.00"


@pytest.mark.feature("H3")
async def test_a_refused_phone_takes_nothing_and_says_why(wallets: Wallets) -> None:
    made = await wallets.top_up("mobile_money", phone=REFUSED)
    for _ in range(3):
        shown = await wallets.seen(made, 10)
    assert shown["state"] == "failed"
    assert "no wallet with this number" in shown["reason"]
    assert await wallets.free() == "$0.00"


@pytest.mark.feature("H3")
@pytest.mark.parametrize("kind", ["before", "after"])
async def test_a_lost_answer_is_one_payment(wallets: Wallets, kind: str) -> None:
    wallets.momo.faults.add(Fault("requesttopay", kind))
    made = await wallets.top_up("mobile_money", phone=NUMBER)
    shown = made
    for _ in range(10):
        shown = await wallets.seen(made, 60)
    assert (shown["state"], await wallets.free()) == ("paid", "$22.00")
    assert len(wallets.momo.paid("collection")) == 1
    assert await wallets.broken() == []


@pytest.mark.feature("H4")
async def test_coins_are_credited_once_when_the_checkout_is_complete(wallets: Wallets) -> None:
    made = await wallets.top_up("crypto")
    shown = await wallets.seen(made)
    ((id, checkout),) = wallets.coinbase.checkouts.items()
    assert (checkout["amount"], checkout["currency"], shown["url"]) == (
        "22.00",
        "USDC",
        checkout["url"],
    )
    wallets.coinbase.settle(id, "COMPLETED")
    assert await wallets.messages() == [204]
    assert (await wallets.seen(made))["state"] == "paid"
    assert await wallets.free() == "$22.00"
    assert await wallets.broken() == []


@pytest.mark.feature("H4")
async def test_messages_that_coinbase_did_not_sign_are_refused(wallets: Wallets) -> None:
    made = await wallets.top_up("crypto")
    await wallets.seen(made)
    wallets.coinbase.settle(next(iter(wallets.coinbase.checkouts)), "COMPLETED")
    (message,) = wallets.coinbase.outgoing()
    signature = message.headers["x-hook0-signature"]

    async def sent(body: bytes = message.body, **headers: str) -> int:
        given = message.headers | {k.replace("_", "-"): v for k, v in headers.items()}
        answer = await wallets.http.post("/webhooks/coinbase", content=body, headers=given)
        return answer.status_code

    assert await sent(message.body + b" ") == 400
    assert await sent(x_hook0_signature=signature[:-1] + "x") == 400
    assert await sent(x_hook0_signature="") == 400
    assert await sent(x_event_type="checkout.payment.failed") == 400
    wallets.clock.advance(301)
    assert await sent() == 400


@pytest.mark.feature("H4")
async def test_a_checkout_that_nobody_pays_fails_and_a_lost_answer_makes_no_second(
    wallets: Wallets,
) -> None:
    wallets.coinbase.faults.add(Fault("create", "after"))
    made = await wallets.top_up("crypto")
    await wallets.seen(made)
    for _ in range(8):
        shown = await wallets.seen(made, 900)
    assert len(wallets.coinbase.checkouts) == 1
    assert (shown["state"], await wallets.free()) == ("failed", "$0.00")
