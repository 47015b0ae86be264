"""Refunds and disputes: what goes back leaves the account once, and comes again if it returns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from brain.billing import Grant, GrantKind, account_stopped, grant
from standins.payments.stripe.faults import Fault, FaultKind, When
from tests.integration.brain.payments.test_crash import DeathAt
from tests.support.brain import admin
from tests.support.payments import Till


async def paid(till: Till, amount: str = "25", card: str = "pm_card_visa") -> Any:
    await till.save_card(card)
    return await till.top_up(amount)


async def spend(till: Till, usd: str) -> None:
    """As if it had been used: moved to another account."""
    from brain import billing
    from kernel.ids import TxId
    from kernel.money import Money

    posting = billing.transfer(
        id=till.ctx.ids.new(TxId),
        key=f"spent/{usd}",
        kind="usage",
        memo="used",
        source=till.account,
        target="platform:leases",
        amount=Money.usd(usd),
    )
    await billing.post(till.ctx, posting)


@pytest.mark.feature("H1")
async def test_a_part_goes_back_and_then_the_rest(till: Till) -> None:
    made = await paid(till)
    path = f"/topups/{made['topup_id']}/refund"
    part = await till.post(path, {"amount_usd": "10"})
    assert (part["reversed_usd"], await till.balance()) == ("$10.00", "$15.00")
    rest = await till.post(path, {})
    await till.pass_time(60)
    assert (rest["reversed_usd"], await till.balance()) == ("$25.00", "$0.00")
    assert await till.broken() == []


async def test_only_what_is_unused_goes_back(till: Till) -> None:
    made = await paid(till)
    await spend(till, "20")
    path = f"/topups/{made['topup_id']}/refund"
    told = await till.post(path, {"amount_usd": "5.01"}, status=409)
    assert (told["code"], told["refundable_usd"]) == ("not_refundable", "$5.00")
    assert (await till.post(path, {}))["reversed_usd"] == "$5.00"


async def test_an_owner_has_two_weeks_and_an_administrator_any_time(till: Till) -> None:
    made = await paid(till)
    await till.pass_time(15 * 86_400)
    path = f"/topups/{made['topup_id']}/refund"
    assert "14 days" in (await till.post(path, {}, status=409))["detail"]
    root = await admin(till.client, till.ctx)
    url = f"/api/v1/admin/payments/topups/{made['topup_id']}/refund"
    answer = await till.client.post(url, json={"reason": "goodwill"}, headers=root.headers)
    assert (answer.status_code, answer.json()["reversed_usd"]) == (201, "$25.00")


async def test_a_refund_that_fails_at_the_bank_comes_back(till: Till) -> None:
    made = await paid(till, card="pm_card_refundFail")
    await till.post(f"/topups/{made['topup_id']}/refund", {})
    assert await till.balance() == "$0.00"
    for _ in range(4):
        await till.pass_time(86_400)
    assert await till.balance() == "$25.00"
    assert await till.broken() == []


async def test_a_refund_with_the_same_key_is_made_once(till: Till) -> None:
    made = await paid(till)
    path, body = f"/topups/{made['topup_id']}/refund", {"amount_usd": "10"}
    for _ in range(3):
        await till.post(path, body, key="k")
    assert await till.balance() == "$15.00"


@pytest.mark.parametrize("step", ["refund_planned", "refund_asked"])
async def test_a_death_around_a_refund_gives_back_once(till: Till, step: str) -> None:
    made = await paid(till)
    till.fail(Fault(FaultKind.CUT, call="POST /v1/refunds", when=When.BEFORE))
    await till.post(f"/topups/{made['topup_id']}/refund", {"amount_usd": "10"})
    death = DeathAt(f"payments.{step}")
    till.clock.advance(60)
    with pytest.raises(BaseException) as died:
        await till.tick(replace(till.ctx, points=death))
    assert death.died, died
    for _ in range(3):
        await till.pass_time(200)
    assert (await till.balance(), refunded(till)) == ("$15.00", [1000])


async def test_a_refund_whose_answer_is_lost_for_two_days_is_found(till: Till) -> None:
    made = await paid(till)
    till.fail(Fault(FaultKind.CUT, call="POST /v1/refunds", when=When.AFTER))
    await till.post(f"/topups/{made['topup_id']}/refund", {"amount_usd": "10"})
    await till.pass_time(2 * 86_400)
    await till.pass_time(60)
    assert (await till.balance(), refunded(till)) == ("$15.00", [1000])


def refunded(till: Till) -> list[int]:
    return [row["amount"] for row in till.world.book.platform.table("refund").values()]


async def test_a_refund_made_at_the_processor_is_booked(till: Till) -> None:
    made = await paid(till)
    payment = (await till.get(f"/topups/{made['topup_id']}/receipt"))["payment"]
    asked: Any = {"payment_intent": payment, "amount": 1000}
    await till.library().v1.refunds.create_async(asked)
    await till.pass_time(60)
    assert await till.bookings() == [("purchase", "$25.00"), ("refund", "-$10.00")]
    assert await till.broken() == []


@pytest.mark.feature("H1")
async def test_a_dispute_takes_the_credit_and_stops_the_account(till: Till) -> None:
    made = await paid(till)
    await spend(till, "20")
    await dispute(till, made)
    assert await till.balance() == "-$20.00"
    async with till.ctx.db.begin() as tx:
        assert await account_stopped(tx, till.account)
    assert await till.broken() == []


async def dispute(till: Till, made: Any) -> Any:
    payment = (await till.get(f"/topups/{made['topup_id']}/receipt"))["payment"]
    opened = await till.own("disputes", {"payment_intent": payment})
    await till.pass_time(5)
    await till.pass_time(60)
    return opened


async def test_a_dispute_that_is_won_brings_the_credit_back(till: Till) -> None:
    made = await paid(till)
    opened = await dispute(till, made)
    await till.own(f"disputes/{opened['id']}", {"outcome": "won"})
    await till.pass_time(60)
    assert await till.balance() == "$25.00"
    async with till.ctx.db.begin() as tx:
        assert not await account_stopped(tx, till.account)
    assert await till.broken() == []


async def test_a_dispute_that_is_lost_stays(till: Till) -> None:
    made = await paid(till)
    opened = await dispute(till, made)
    await till.own(f"disputes/{opened['id']}", {"outcome": "lost"})
    await till.pass_time(60)
    assert (await till.balance(), await till.broken()) == ("$0.00", [])


async def test_a_question_of_a_bank_takes_nothing(till: Till) -> None:
    await paid(till, card="pm_card_createDisputeInquiry")
    await till.pass_time(60)
    assert (await till.balance(), await till.broken()) == ("$25.00", [])


async def test_a_promotion_is_not_refunded_in_money(till: Till) -> None:
    made = await paid(till)
    await grant(
        till.ctx,
        Grant(till.account, GrantKind.PROMO, "welcome", "promo", credits=1_000_000),
    )
    done = await till.post(f"/topups/{made['topup_id']}/refund", {})
    assert (done["reversed_usd"], await till.balance()) == ("$25.00", "$100.00")
