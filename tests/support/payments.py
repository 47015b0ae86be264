"""Payments on one stage: the brain's app, an emulated Stripe, Stripe's own library between them.

Both live in this process and share a clock that stands; webhooks go to the app's public route.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import stripe
from fastapi import FastAPI

from brain import billing
from brain.adapters.payments.settings import PaymentSettings
from brain.adapters.payments.stripe import open_stripe
from brain.app import create_app
from brain.payments import (
    Desk,
    PaymentProofs,
    PaymentTerms,
    core,
    reconcile_payments,
    reconcile_refills,
    sweep_payments,
)
from brain.payments.service import TopUpWish, open_topup, payer_for
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.ids import AccountId, TopUpId
from kernel.money import Money
from standins.payments.stripe import KEY, SECRET, add_webhook, make_app
from standins.payments.stripe.asgi import App
from standins.payments.stripe.book import Rules
from standins.payments.stripe.faults import Fault
from standins.payments.stripe.hooks import Posting
from tests.support.brain import (
    Somebody,
    logged_in,
    quick_passwords,
    running,
    settings_for_tests,
    signed_up,
)

HOOK = "http://brain/webhooks/stripe"
PAYMENTS = "/api/v1/payments"


class InProcess(stripe.HTTPXClient):
    """The library's own client over an app in this process."""

    def __init__(self, app: App) -> None:
        super().__init__(timeout=20)
        self._client_async = httpx.AsyncClient(transport=httpx.ASGITransport(app))


@dataclass
class Till:
    """One stage. ``world`` is Stripe's side; ``client`` calls our public API."""

    ctx: Ctx
    clock: ManualClock
    world: App
    app: FastAPI
    desk: Desk
    client: httpx.AsyncClient
    who: Somebody

    @property
    def account(self) -> AccountId:
        return AccountId(self.who.account_id)

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.client.get(PAYMENTS + path, headers=self.who.headers, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Any = None, *, key: str = "", status: int = 201) -> Any:
        headers = self.who.headers | ({"idempotency-key": key} if key else {})
        answer = await self.client.post(PAYMENTS + path, json=body, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def put(self, path: str, body: Any = None) -> Any:
        answer = await self.client.put(PAYMENTS + path, json=body, headers=self.who.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def own(self, verb: str, body: Any) -> Any:
        """What happens at the stand-in's side, such as a bank's decision."""
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(self.world), base_url="http://stripe"
        ) as client:
            answer = await client.post(f"/_stand-in/{verb}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def save_card(self, name: str = "pm_card_visa") -> str:
        """What the processor's page does when a person adds a card."""
        await self.get("/cards")
        customer = await self.customer()
        asked: Any = {"customer": customer}
        made = await self.library().v1.payment_methods.attach_async(name, asked)
        return made.id

    async def pay_page(self, url: str, card: str = "pm_card_visa") -> None:
        """What a person does on the processor's page."""
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.world)) as client:
            answer = await client.post(url, data={"card": card})
        assert answer.status_code < 400, answer.text

    async def customer(self) -> str:
        rows = self.world.book.platform.table("customer").values()
        mine = (r for r in rows if r["metadata"]["account"] == self.who.account_id)
        return str(next(mine)["id"])

    async def top_up(self, amount: str = "25", **more: Any) -> Any:
        return await self.post("/topups", {"amount_usd": amount, **more})

    async def write_down(self, amount: str = "25") -> TopUpId:
        """A top-up that only its row knows of yet, and that nobody waits for any more."""
        wish = TopUpWish(self.account, Money.usd(amount), "card")
        payer = await payer_for(self.ctx, self.desk, wish)
        async with self.ctx.db.begin() as tx:
            row = await open_topup(tx, self.ctx, self.desk, wish, payer)
        self.clock.advance(core.HEAD_START.total_seconds())
        return row.topup_id

    async def topup(self, made: Any) -> Any:
        return await self.get(f"/topups/{made['topup_id']}")

    def library(self) -> stripe.StripeClient:
        """Stripe's library as somebody else uses it, at Stripe's own pages for one."""
        return stripe.StripeClient(
            KEY, base_addresses={"api": "http://stripe"}, http_client=InProcess(self.world)
        )

    def fail(self, fault: Fault) -> None:
        self.world.shell.faults.add([fault])

    async def pass_time(self, seconds: float, ctx: Ctx | None = None) -> None:
        """Time goes on, messages come, every loop runs."""
        self.clock.advance(seconds)
        if seconds >= 3600:  # the log-in ends some day
            self.who = await logged_in(self.client, self.who.email, self.who.account_id)
        await self.world.deliver()
        await self.tick(ctx)

    async def tick(self, ctx: Ctx | None = None) -> None:
        used = ctx or self.ctx
        await reconcile_refills(used, self.desk, owner="w")
        await sweep_payments(used, self.desk)
        await reconcile_payments(used, self.desk, owner="w")

    async def balance(self) -> str:
        """The account's balance as it is told in public."""
        path = "/api/v1/billing/balance"
        answer = await self.client.get(path, headers=self.who.headers)
        return str(answer.json()["free_usd"])

    async def bookings(self) -> list[tuple[str, str]]:
        path = "/api/v1/billing/transactions"
        answer = await self.client.get(path, headers=self.who.headers)
        return [(one["kind"], one["amount_usd"]) for one in answer.json()["items"]][::-1]

    async def broken(self) -> list[str]:
        """Laws that do not hold: of the books and of payments."""
        found = await billing.prove(self.ctx, None, [PaymentProofs()])
        return [proof.name for proof in found if not proof.holds]

    def charges(self) -> list[int]:
        """What Stripe took, by charge."""
        rows = self.world.book.platform.table("charge").values()
        return [row["amount_captured"] for row in rows if row["captured"]]


@asynccontextmanager
async def till(ctx: Ctx, clock: ManualClock, database_url: str, seed: int) -> AsyncIterator[Till]:
    world = make_app(clock, random.Random(seed), rules=Rules(calls_per_second=0))
    world.book.url = "http://stripe"
    settings = PaymentSettings(
        stripe_api_key=KEY, stripe_webhook_secret=SECRET, stripe_api_base="http://127.0.0.1:1"
    )
    processor, api = open_stripe(settings, clock, http=InProcess(world))
    desk = Desk({processor.name: processor}, PaymentTerms(public_url="http://brain"))
    app = create_app(
        settings_for_tests(database_url, access_token_seconds=86_400),
        ctx=ctx,
        passwords=quick_passwords(),
    )
    app.state.payments = desk
    async with running(app) as client:

        async def post(posting: Posting) -> int:
            answer = await client.post(posting.url, content=posting.body, headers=posting.headers)
            return answer.status_code

        world.post = post
        add_webhook(world, HOOK)
        yield Till(ctx, clock, world, app, desk, client, await signed_up(client))
    await api.close()
