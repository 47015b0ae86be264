"""The chain ask, charge, credit: dying at each step, repeating it, and failing each call outside
take the money once and credit it once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from brain.payments.reconcile import step_now
from brain.payments.service import TopUpWish, open_topup, payer_for
from brain.plumbing.points import Killed
from kernel.money import Money
from standins.payments.stripe.faults import Fault, FaultKind, When
from tests.support.payments import Till

STEPS = ("taken", "asked", "begun", "noted", "looked", "paid")
CALLS = ("POST /v1/payment_intents", "GET /v1/payment_intents", "GET /v1/refunds")


class DeathAt:
    def __init__(self, name: str) -> None:
        self.name = name
        self.died = False

    async def reach(self, name: str) -> None:
        if name == self.name and not self.died:
            self.died = True
            raise Killed(name)


@pytest.mark.feature("H1")
@pytest.mark.parametrize("step", STEPS)
async def test_a_death_at_any_step_charges_and_credits_once(till: Till, step: str) -> None:
    await till.save_card()
    await till.write_down("25")
    death = DeathAt(f"payments.{step}")
    with pytest.raises(BaseException) as died:  # the group or the death itself
        await till.tick(replace(till.ctx, points=death))
    assert death.died, died
    for _ in range(3):
        await till.pass_time(190)
    assert (till.charges(), await till.bookings()) == ([2500], [("purchase", "$25.00")])
    assert await till.broken() == []


async def test_who_waits_begins_it_and_the_reconciler_only_when_nobody_does(till: Till) -> None:
    await till.save_card()
    wish = TopUpWish(till.account, Money.usd("25"), "card")
    payer = await payer_for(till.ctx, till.desk, wish)
    async with till.ctx.db.begin() as tx:
        row = await open_topup(tx, till.ctx, till.desk, wish, payer)
    await till.tick()
    assert till.charges() == [], "it was taken from under who waits, who would be told nothing"
    await step_now(till.ctx, till.desk, row.topup_id)
    assert till.charges() == [2500]
    await till.write_down("30")
    await till.tick()
    assert till.charges() == [2500, 3000]


async def test_every_step_five_times_at_once_is_one_charge(till: Till) -> None:
    await till.save_card()
    await till.write_down("25")
    for _ in range(2):
        await asyncio.gather(*(till.tick() for _ in range(5)))
        await till.pass_time(100)
    assert (till.charges(), await till.bookings()) == ([2500], [("purchase", "$25.00")])


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize(
    "kind", [FaultKind.CUT, FaultKind.BROKEN, FaultKind.THROTTLED, FaultKind.BROKEN_KEPT]
)
async def test_a_call_that_fails_is_mended(till: Till, kind: FaultKind, when: When) -> None:
    await till.save_card()
    for call in CALLS:
        till.fail(Fault(kind, call=call, when=when))
        await till.write_down("25")
        await till.tick()
        await till.pass_time(20)
        await till.pass_time(20)
    assert (till.charges(), await till.balance()) == ([2500] * 3, "$75.00")
    assert await till.broken() == []


async def test_a_processor_that_is_away_for_a_day_takes_nothing_later(till: Till) -> None:
    await till.save_card()
    await till.write_down("25")
    till.fail(Fault(FaultKind.CUT, call="POST /v1/payment_intents", next=0))
    for _ in range(5):
        await till.pass_time(6 * 3600)
    till.world.shell.faults.clear()
    await till.pass_time(3600)
    (row,) = (await till.get("/topups"))["items"]
    assert (row["state"], till.charges(), await till.balance()) == ("failed", [], "$0.00")
