"""Payouts by Stripe Connect: Stripe's own library against its emulator."""

from __future__ import annotations

import random
from typing import Any

import httpx
import pytest

from brain.adapters.payments.stripe.api import Api
from brain.adapters.payments.stripe.connect import StripeConnect
from standins.payments.stripe import KEY, make_app
from standins.payments.stripe.asgi import App
from standins.payments.stripe.book import Rules
from standins.payments.stripe.faults import Fault, FaultKind, When
from standins.payments.stripe.money import move
from tests.support.payments import InProcess
from tests.support.payouts import Provider

pytestmark = pytest.mark.feature("H6")
STRIPE = {"method": "stripe", "currency": "USD"}


@pytest.fixture
def world(provider: Provider, seed: int) -> App:
    """An emulated Stripe, by which the provider's brain pays too."""
    made = make_app(provider.clock, random.Random(seed), rules=Rules(calls_per_second=0))
    made.book.url = "http://stripe"
    api = Api(KEY, "http://stripe", http=InProcess(made))
    connect = StripeConnect(api, "http://brain")
    provider.terms.disbursers.pay["stripe"] = connect
    provider.terms.disbursers.onboard["stripe"] = connect
    return made


def funds(world: App, cents: int) -> None:
    move(world.book.platform, "charge", cents, "usd", "ch_first")


def transfers(world: App) -> list[Any]:
    return list(world.book.platform.table("transfer").values())


async def complete(world: App, url: str) -> None:
    """What the account's owner does on Stripe's page."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(world)) as client:
        answer = await client.post(url, data={"bank": "000123456789"})
    assert answer.status_code < 400, answer.text


async def onboarded(provider: Provider, world: App) -> str:
    made = await provider.call("PUT", "/payout-destination", STRIPE)
    await complete(world, made["url"])
    return str(made["address"])


async def test_an_account_is_made_once_and_completed_at_stripe(
    provider: Provider, world: App
) -> None:
    made = await provider.call("PUT", "/payout-destination", STRIPE)
    again = await provider.call("PUT", "/payout-destination", STRIPE)
    assert made["address"] == again["address"]
    assert (made["ready"], "missing" in made["said"]) == (False, True)
    await complete(world, again["url"])
    assert (await provider.call("GET", "/payout-destination"))["ready"]
    assert len(world.book.platform.table("account")) == 1


async def test_a_payout_is_one_transfer_to_the_providers_account(
    provider: Provider, world: App
) -> None:
    funds(world, 100_000)
    address = await onboarded(provider, world)
    await provider.matured(55)
    made = await provider.call("POST", "/payouts", status=201)
    done = await provider.settled(made["payout_id"])
    (transfer,) = transfers(world)
    assert (done["state"], done["reference"]) == ("paid", transfer["id"])
    assert (transfer["amount"], transfer["destination"]) == (5500, address)
    assert transfer["transfer_group"] == made["payout_id"]
    assert await provider.broken() == []


async def test_our_own_empty_balance_makes_it_wait(provider: Provider, world: App) -> None:
    await onboarded(provider, world)
    await provider.matured(55)
    made = await provider.call("POST", "/payouts", status=201)
    await provider.step()
    shown = await provider.call("GET", f"/payouts/{made['payout_id']}")
    assert (shown["state"], transfers(world)) == ("submitting", [])
    funds(world, 100_000)
    assert (await provider.settled(made["payout_id"]))["state"] == "paid"
    assert len(transfers(world)) == 1


async def test_an_account_that_is_closed_meanwhile_gives_the_money_back(
    provider: Provider, world: App
) -> None:
    funds(world, 100_000)
    address = await onboarded(provider, world)
    await provider.matured(55)
    made = await provider.call("POST", "/payouts", status=201)
    del world.book.platform.table("account")[address]
    done = await provider.settled(made["payout_id"])
    assert (done["state"], transfers(world)) == ("failed", [])
    assert (await provider.balances())[0] == 55_000_000_000
    assert await provider.broken() == []


async def test_a_transfer_whose_answer_was_lost_is_found_by_its_group(
    provider: Provider, world: App
) -> None:
    funds(world, 100_000)
    await onboarded(provider, world)
    await provider.matured(55)
    made = await provider.call("POST", "/payouts", status=201)
    world.shell.faults.add([Fault(FaultKind.CUT, call="POST /v1/transfers", when=When.AFTER)])
    await provider.step()
    assert len(transfers(world)) == 1
    provider.clock.advance(30 * 3600)  # Stripe has forgotten the idempotency key by then
    assert (await provider.settled(made["payout_id"]))["state"] == "paid"
    assert len(transfers(world)) == 1
