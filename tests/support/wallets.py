"""Top-ups by mobile money and in USDC on one stage: both processors emulated in this process."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI

from brain import billing
from brain.adapters.payments.coinbase import (
    CoinbaseCollector,
    CoinbaseHints,
    CoinbaseHttp,
    CoinbaseKey,
)
from brain.adapters.payments.momo import MomoCollector, MomoHints, MomoRefunder
from brain.payments import Desk, PaymentProofs, Processor, reconcile_payments
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.money import Money
from standins.payments.coinbase.app import KEY_ID
from standins.payments.coinbase.desk import CoinbaseDesk
from standins.payments.front import App
from standins.payments.momo.desk import MomoDesk
from tests.support.brain import Somebody, logged_in, signed_up
from tests.support.payouts import momo_desk, momo_http

SECRET = "subscription-secret"


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

    async def refund(self, made: Any, status: int = 201, **body: Any) -> Any:
        path = f"/api/v1/payments/topups/{made['topup_id']}/refund"
        answer = await self.http.post(path, json=body, headers=self.who.headers)
        assert answer.status_code == status, answer.text
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


@asynccontextmanager
async def wallets_on(
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
    back = MomoRefunder(momo_http(momo, "disbursement"))
    coins = CoinbaseCollector(http)
    hints = CoinbaseHints(SECRET, clock)
    desk = Desk(
        {
            "momo": Processor(
                phone,
                ("mobile_money",),
                currency="EUR",
                reader=MomoHints(),
                refunder=back,
                refund_looker=back,
            ),
            "coinbase": Processor(
                coins, ("crypto",), canceller=coins, reader=hints, refunder=coins
            ),
        }
    )
    app.state.payments = desk
    async with ctx.db.begin() as tx:
        await billing.set_currency_rate(tx, "EUR", Money.usd("1.10"), clock.now())
    yield Wallets(ctx, clock, brain, desk, momo, coinbase, await signed_up(brain))
    for one in (phone, back, coins):
        await one.close()
