"""A provider with earnings, MoMo's sandbox in this process, and payouts between the two."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI

from brain import billing
from brain.adapters.payments.momo import MomoAccount, MomoDisburser, MomoHttp
from brain.billing import Stored
from brain.payouts import Disbursers, Every, PayoutTerms, reconcile_payouts
from brain.plumbing import Ctx
from kernel.clock import NS, ManualClock
from kernel.ids import AccountId, VolumeId
from kernel.money import Money
from standins.payments.front import App
from standins.payments.momo.app import COLLECTION_KEY, DISBURSEMENT_KEY, USER, USER_KEY
from standins.payments.momo.desk import MomoDesk
from tests.support.brain import Somebody, logged_in, signed_up

NUMBER = "256772123456"
MATURES_SECONDS = 3600
HOUR_NS = 3600 * NS


def momo_desk(clock: ManualClock, seed: int) -> MomoDesk:
    return MomoDesk(
        clock=clock,
        chance=random.Random(seed),
        keys={"collection": COLLECTION_KEY, "disbursement": DISBURSEMENT_KEY},
        users={USER: USER_KEY},
    )


def momo_http(desk: MomoDesk, product: str) -> MomoHttp:
    """The adapter's own client, over the desk in this process."""
    account = MomoAccount(
        product=product,
        base_url="http://momo",
        environment="sandbox",
        subscription_key=desk.keys[product],
        user=USER,
        user_key=USER_KEY,
    )
    return MomoHttp(account, desk.clock, httpx.ASGITransport(App(desk)))


def momo_terms(desk: MomoDesk) -> PayoutTerms:
    disburser = MomoDisburser(momo_http(desk, "disbursement"))
    return PayoutTerms(Disbursers({"momo": disburser}), Every.WEEK, MATURES_SECONDS)


async def earn(ctx: Ctx, provider: AccountId, dollars: int) -> None:
    """Earnings through the books' own door: a renter's volume on the provider's node, an hour."""
    payer, price = ctx.ids.new(AccountId), -(-dollars * NS * 20 // 17)  # 15 % of it is our fee
    key = f"money of {payer}"
    await billing.grant(ctx, billing.Grant(payer, "admin", "test", key, money=Money(2 * price)))
    now = ctx.clock.now_ns()
    stretch = {"from_ns": now - HOUR_NS, "until_ns": now, "seen_ns": HOUR_NS}
    async with ctx.db.begin() as tx:
        volume = ctx.ids.new(VolumeId)
        stored = Stored(volume, payer, provider, gib=1, price_nano=price, **stretch)
        await billing.storage_accrued(tx, ctx, stored)


@dataclass
class Provider:
    """A provider on the API. ``step`` lets time pass and the reconciler look."""

    ctx: Ctx
    clock: ManualClock
    app: FastAPI
    http: httpx.AsyncClient
    desk: MomoDesk
    who: Somebody

    @property
    def terms(self) -> PayoutTerms:
        terms: PayoutTerms = self.app.state.payout_terms
        return terms

    async def call(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        """Logged in anew each time: hours pass between two calls."""
        self.who = await logged_in(self.http, self.who.email, self.who.account_id)
        answer = await self.http.request(
            method, f"/api/v1/provider{path}", json=body, headers=self.who.headers
        )
        assert answer.status_code == status, answer.text
        return answer.json()

    async def paid_at(self, number: str = NUMBER, **more: object) -> None:
        body = {"method": "momo", "number": number, "currency": "EUR", **more}
        await self.call("PUT", "/payout-destination", body)

    async def matured(self, dollars: int) -> None:
        await earn(self.ctx, AccountId(self.who.account_id), dollars)
        self.clock.advance(MATURES_SECONDS + 1)

    async def step(self, seconds: float = 0) -> int:
        self.clock.advance(seconds)
        return await reconcile_payouts(self.ctx, self.terms)

    async def settled(self, payout_id: str) -> Any:
        """Steps until the payout is over, at most an hour."""
        for _ in range(12):
            await self.step()
            shown = await self.call("GET", f"/payouts/{payout_id}")
            if shown["settled_at"]:
                break
            self.clock.advance(300)
        return shown

    async def balances(self) -> tuple[int, int, int]:
        """Unpaid, under way, paid out, in nano-dollars."""
        own = self.who.account_id
        names = [f"{own}:pending", f"{own}:paying", "platform:payouts"]
        async with self.ctx.db.begin() as tx:
            found = await billing.balances(tx, names)
        pending, paying, paid = (found[name].posted for name in names)
        return pending, paying, paid

    async def broken(self) -> list[str]:
        """Every proof of the books and of payouts that does not hold."""
        found = await billing.prove(self.ctx, sources=self.app.state.proof_sources)
        assert len(found) > 8
        return [proof.name for proof in found if not proof.holds]


async def provider_on(
    app: FastAPI, http: httpx.AsyncClient, ctx: Ctx, clock: ManualClock, seed: int
) -> Provider:
    """A new provider, paid through an emulated MoMo at 1.10 dollars for a euro."""
    desk = momo_desk(clock, seed)
    app.state.payout_terms = momo_terms(desk)
    made = Provider(ctx, clock, app, http, desk, await signed_up(http))
    await made.call("POST", "", {"name": "Nodes"})
    async with ctx.db.begin() as tx:
        await billing.set_currency_rate(tx, "EUR", Money.usd("1.10"), clock.now())
    return made
