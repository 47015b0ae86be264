"""Payouts over the API, real PostgreSQL and MoMo's sandbox: once, exactly, and never lost."""

from __future__ import annotations

import asyncio

import pytest

from brain.payouts import reconcile_payouts, run_period
from kernel.clock import NS
from tests.support.payouts import Provider, earn

pytestmark = [pytest.mark.feature("H6"), pytest.mark.feature("C7")]
NANO = NS
PENDING_FOR_EVER, LIMIT_REACHED = "46733123453", "46733123456"


async def test_matured_earnings_are_paid_out_in_another_currency(provider: Provider) -> None:
    await provider.paid_at()
    await provider.matured(55)
    made = await provider.call("POST", "/payouts", status=201)
    assert (made["state"], made["sent"], made["currency"]) == ("asked", "50.00", "EUR")
    assert made["rate_version"].startswith("EUR@")
    done = await provider.settled(made["payout_id"])
    assert (done["state"], done["address"]) == ("paid", "•••••••••456")
    (paid,) = provider.desk.paid("disbursement")
    assert (paid.body["amount"], paid.body["payee"]["partyId"]) == ("50.00", "256772123456")
    assert await provider.balances() == (0, 0, 55 * NANO)
    assert await provider.broken() == []


async def test_young_earnings_are_not_payable(provider: Provider) -> None:
    await provider.paid_at()
    await provider.matured(20)

    await earn(provider.ctx, provider.who.account_id, 1000)
    made = await provider.call("POST", "/payouts", status=201)
    assert 19_900_000_000 < made["amount_nano"] <= 20 * NANO
    shown = await provider.call("GET", "/earnings")
    assert shown["payable_nano"] < 10**8
    assert shown["under_way_nano"] == made["amount_nano"]


async def test_of_requests_at_once_one_wins(provider: Provider) -> None:
    await provider.paid_at()
    await provider.matured(55)
    await provider.call("GET", "/payouts")
    asks = [
        provider.http.post("/api/v1/provider/payouts", headers=provider.who.headers)
        for _ in range(8)
    ]
    codes = sorted(answer.status_code for answer in await asyncio.gather(*asks))
    assert codes == [201] + [409] * 7
    both = [reconcile_payouts(provider.ctx, provider.terms) for _ in range(5)]
    await asyncio.gather(*both)
    await provider.step(30)
    assert len(provider.desk.paid("disbursement")) == 1
    assert provider.desk.calls["transfer"] == 1
    assert await provider.broken() == []


async def test_once_a_period_and_again_in_the_next(provider: Provider) -> None:
    await provider.paid_at()
    await provider.matured(55)
    made = await provider.call("POST", "/payouts", status=201)
    await provider.settled(made["payout_id"])
    await provider.matured(55)
    refused = await provider.call("POST", "/payouts", status=409)
    assert refused["code"] == "period_paid"
    provider.clock.advance(7 * 86_400)
    assert (await provider.call("POST", "/payouts", status=201))["amount_nano"] == 55 * NANO


async def test_the_automatic_run_asks_once_however_often_it_runs(provider: Provider) -> None:
    await provider.paid_at()
    await provider.matured(55)
    runs = await asyncio.gather(*(run_period(provider.ctx, provider.terms) for _ in range(5)))
    assert sum(runs) == 1
    (made,) = (await provider.call("GET", "/payouts"))["items"]
    assert made["automatic"]
    assert (await provider.settled(made["payout_id"]))["state"] == "paid"
    assert await run_period(provider.ctx, provider.terms) == 0


async def test_less_than_the_least_waits(provider: Provider) -> None:
    await provider.paid_at()
    await provider.matured(9)
    assert await run_period(provider.ctx, provider.terms) == 0
    refused = await provider.call("POST", "/payouts", status=409)
    assert refused["code"] == "nothing_payable"
    assert "$10.00" in refused["detail"]


async def test_what_fails_goes_back_and_is_not_tried_again_by_itself(provider: Provider) -> None:
    await provider.paid_at(LIMIT_REACHED)
    await provider.matured(55)
    made = await provider.call("POST", "/payouts", status=201)
    failed = await provider.settled(made["payout_id"])
    assert failed["state"] == "failed"
    assert "limit is reached" in failed["reason"]
    assert await provider.balances() == (55 * NANO, 0, 0)
    assert await run_period(provider.ctx, provider.terms) == 0
    assert (await provider.call("POST", "/payouts", status=409))["code"] == "failed_just_now"
    provider.clock.advance(3601)
    await provider.paid_at()
    again = await provider.call("POST", "/payouts", status=201)
    assert (await provider.settled(again["payout_id"]))["state"] == "paid"
    assert await provider.broken() == []


async def test_nobody_is_paid_without_a_destination_that_is_ready(provider: Provider) -> None:
    await provider.matured(55)
    refused = await provider.call("POST", "/payouts", status=409)
    assert refused["code"] == "no_destination"
    await provider.paid_at("46733123457")  # there is no such wallet
    shown = await provider.call("GET", "/payout-destination")
    assert (shown["ready"], shown["said"]) == (False, "there is no active wallet with this number")
    assert (await provider.call("POST", "/payouts", status=409))["code"] == "destination_not_ready"
    assert await run_period(provider.ctx, provider.terms) == 0


async def test_a_payout_that_stays_pending_is_looked_at_for_ever(provider: Provider) -> None:
    await provider.paid_at(PENDING_FOR_EVER)
    await provider.matured(55)
    made = await provider.call("POST", "/payouts", status=201)
    for _ in range(20):
        await provider.step(6 * 3600)
    shown = await provider.call("GET", f"/payouts/{made['payout_id']}")
    assert shown["state"] == "unknown"
    assert provider.desk.calls["transfer"] == 1
    assert await provider.balances() == (0, 55 * NANO, 0)
    assert await provider.broken() == []
