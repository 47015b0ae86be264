"""Answers that are lost, processors that are away, crashes: a payout is never paid twice."""

from __future__ import annotations

import asyncio

import pytest

from brain.payouts import reconcile_payouts
from standins.payments.front import Fault
from tests.support.brain import admin
from tests.support.mortal import Died, When, mortal
from tests.support.payouts import Provider

pytestmark = pytest.mark.feature("H6")
NANO = 1_000_000_000


async def asked(provider: Provider) -> str:
    await provider.paid_at()
    await provider.matured(55)
    return str((await provider.call("POST", "/payouts", status=201))["payout_id"])


@pytest.mark.parametrize("kind", ["before", "after"])
@pytest.mark.parametrize("status", [0, 500, 503])
async def test_a_lost_answer_is_looked_for_before_any_repeat(
    provider: Provider, kind: str, status: int
) -> None:
    payout = await asked(provider)
    provider.desk.faults.add(Fault("transfer", kind, status))
    assert (await provider.settled(payout))["state"] == "paid"
    assert len(provider.desk.paid("disbursement")) == 1
    assert provider.desk.calls["transfer"] == (2 if kind == "before" else 1)
    assert await provider.broken() == []


async def test_a_repeat_that_landed_already_is_not_a_second_payment(provider: Provider) -> None:
    payout = await asked(provider)
    lost = Fault("transfer", "after")
    blind = Fault("look_transfer", "before", 404, body='{"code":"RESOURCE_NOT_FOUND"}')
    provider.desk.faults.add(lost, blind)
    assert (await provider.settled(payout))["state"] == "paid"
    assert provider.desk.calls["transfer"] == 2  # the second was answered with 409
    assert len(provider.desk.paid("disbursement")) == 1


async def test_a_token_that_ends_is_renewed_once(provider: Provider) -> None:
    payout = await asked(provider)
    tokens = provider.desk.calls["token"]
    provider.desk._tokens.clear()
    assert (await provider.settled(payout))["state"] == "paid"
    assert provider.desk.calls["token"] == tokens + 1


async def test_refused_keys_do_nothing_and_lose_nothing(provider: Provider) -> None:
    payout = await asked(provider)
    key, provider.desk.keys["disbursement"] = provider.desk.keys["disbursement"], "another"
    await provider.step()
    shown = await provider.call("GET", f"/payouts/{payout}")
    assert shown["state"] == "submitting"
    provider.desk.keys["disbursement"] = key
    assert (await provider.settled(payout))["state"] == "paid"
    assert await provider.broken() == []


async def test_a_silent_processor_leaves_it_unknown_and_a_person_may_settle_it(
    provider: Provider,
) -> None:
    payout = await asked(provider)
    provider.desk.faults.add(Fault("*", "before", 0, times=1000))
    for _ in range(20):
        await provider.step(600)
    shown = await provider.call("GET", f"/payouts/{payout}")
    assert shown["state"] == "unknown"
    assert await provider.balances() == (0, 55 * NANO, 0)
    root = await admin(provider.http, provider.ctx)
    path = f"/api/v1/admin/payouts/{payout}/resolve"
    word = {"outcome": "failed", "reason": "MoMo wrote that it never had it"}
    await provider.call("GET", "/payouts")
    own = await provider.http.post(path, json=word, headers=provider.who.headers)
    done = await provider.http.post(path, json=word, headers=root.headers)
    again = await provider.http.post(path, json=word, headers=root.headers)
    assert (own.status_code, done.status_code, again.status_code) == (403, 200, 409)
    assert await provider.balances() == (55 * NANO, 0, 0)
    assert await provider.broken() == []


async def test_an_unknown_payout_is_looked_at_until_the_processor_says_what_it_did(
    provider: Provider,
) -> None:
    payout = await asked(provider)
    silent = Fault("look_transfer", "before", 0, times=1000)
    provider.desk.faults.add(Fault("transfer", "after"), silent)
    for _ in range(20):
        await provider.step(600)
    assert (await provider.call("GET", f"/payouts/{payout}"))["state"] == "unknown"
    silent.times = 0
    await provider.step(600)
    assert (await provider.call("GET", f"/payouts/{payout}"))["state"] == "paid"
    assert provider.desk.calls["transfer"] == 1
    assert await provider.balances() == (0, 0, 55 * NANO)


async def test_our_own_empty_account_makes_a_payout_wait(provider: Provider) -> None:
    payout = await asked(provider)
    empty = '{"code":"NOT_ENOUGH_FUNDS","message":"."}'
    provider.desk.faults.add(Fault("transfer", "before", 500, times=2, body=empty))
    await provider.step()
    assert (await provider.call("GET", f"/payouts/{payout}"))["state"] == "submitting"
    assert (await provider.settled(payout))["state"] == "paid"
    assert len(provider.desk.paid("disbursement")) == 1


@pytest.mark.parametrize("when", list(When))
async def test_a_death_at_any_transaction_pays_once(provider: Provider, when: When) -> None:
    payout = await asked(provider)
    for at in range(1, 9):
        dying, _ = mortal(provider.ctx, at, when)
        try:
            await reconcile_payouts(dying, provider.terms)
        except* Died:
            pass
        provider.clock.advance(181)
    assert (await provider.settled(payout))["state"] == "paid"
    assert len(provider.desk.paid("disbursement")) == 1
    assert await provider.broken() == []


async def test_many_workers_at_once_step_each_payout_once(provider: Provider) -> None:
    payout = await asked(provider)
    for _ in range(6):
        work = [reconcile_payouts(provider.ctx, provider.terms, owner=str(n)) for n in range(5)]
        await asyncio.gather(*work)
        provider.clock.advance(30)
    shown = await provider.call("GET", f"/payouts/{payout}")
    assert shown["state"] == "paid"
    assert provider.desk.calls["transfer"] == 1
