"""Top-ups by mobile money and in USDC over the API: the poll is the truth, a message a hint."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI

from brain import billing
from brain.adapters.payments.coinbase import (
    CoinbaseCollector,
    CoinbaseHints,
    CoinbaseHttp,
    CoinbaseKey,
)
from brain.adapters.payments.momo import MomoCollector, MomoHints
from brain.payments import Desk, PaymentProofs, Processor, reconcile_payments
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.money import Money
from standins.payments.coinbase.app import KEY_ID
from standins.payments.coinbase.desk import CoinbaseDesk
from standins.payments.front import App, Fault
from standins.payments.momo.desk import MomoDesk
from tests.support.brain import Somebody, logged_in, signed_up
from tests.support.payouts import NUMBER, momo_desk, momo_http

SECRET = "subscription-secret"
SLOW, REFUSED = "46733123454", "46733123455"


@dataclass
class Wallets:
    """One account, MoMo's sandbox and an emulated Coinbase in this process."""

    ctx: Ctx
    clock: ManualClock
    http: httpx.AsyncClient
    desk: Desk
    momo: MomoDesk
    coinbase: CoinbaseDesk
    who: Somebody

    async def top_up(self, method: str, **more: Any) -> Any:
        body = {"amount_usd": "22", "method": method, **more}
        answer = await self.http.post(
            "/api/v1/payments/topups", json=body, headers=self.who.headers
        )
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def seen(self, made: Any, seconds: float = 0) -> Any:
        """The top-up after so much time and a look of the reconciler."""
        self.clock.advance(seconds)
        await reconcile_payments(self.ctx, self.desk, owner="w")
        self.who = await logged_in(self.http, self.who.email, self.who.account_id)
        path = f"/api/v1/payments/topups/{made['topup_id']}"
        return (await self.http.get(path, headers=self.who.headers)).json()

    async def free(self) -> str:
        answer = await self.http.get("/api/v1/billing/balance", headers=self.who.headers)
        return str(answer.json()["free_usd"])

    async def messages(self) -> list[int]:
        """What both tell by themselves, at our public routes."""
        codes = []
        for message in [*self.momo.outgoing(), *self.coinbase.outgoing()]:
            answer = await self.http.request(
                message.method, message.url, content=message.body, headers=message.headers
            )
            codes.append(answer.status_code)
        return codes

    async def broken(self) -> list[str]:
        found = await billing.prove(self.ctx, None, [PaymentProofs()])
        return [proof.name for proof in found if not proof.holds]


@pytest.fixture
async def wallets(
    app: FastAPI, brain: httpx.AsyncClient, ctx: Ctx, clock: ManualClock, seed: int
) -> AsyncIterator[Wallets]:
    momo = momo_desk(clock, seed)
    private = Ed25519PrivateKey.generate()
    hook = ("http://localhost/webhooks/coinbase", SECRET)
    chance = random.Random(seed)
    coinbase = CoinbaseDesk(clock, chance, KEY_ID, private.public_key(), hook)
    http = CoinbaseHttp(
        CoinbaseKey(KEY_ID, private),
        "http://coinbase/api/v1",
        clock,
        httpx.ASGITransport(App(coinbase)),
    )
    phone = MomoCollector(momo_http(momo, "collection"), "http://localhost/webhooks/momo")
    coins = CoinbaseCollector(http)
    hints = CoinbaseHints(SECRET, clock)
    desk = Desk(
        {
            "momo": Processor(phone, ("mobile_money",), currency="EUR", reader=MomoHints()),
            "coinbase": Processor(coins, ("crypto",), canceller=coins, reader=hints),
        }
    )
    app.state.payments = desk
    async with ctx.db.begin() as tx:
        await billing.set_currency_rate(tx, "EUR", Money.usd("1.10"), clock.now())
    yield Wallets(ctx, clock, brain, desk, momo, coinbase, await signed_up(brain))
    await phone.close()
    await coins.close()


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
