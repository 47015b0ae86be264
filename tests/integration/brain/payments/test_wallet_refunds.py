"""What goes back to phones and coin wallets: once, followed to its end, returned if it fails."""

from __future__ import annotations

import json
from typing import Any

import pytest

from standins.payments.front import Fault
from tests.support.payouts import NUMBER
from tests.support.wallets import Wallets

pytestmark = [pytest.mark.feature("H3"), pytest.mark.feature("H4")]


async def paid_by_phone(wallets: Wallets) -> Any:
    made = await wallets.top_up("mobile_money", phone=NUMBER)
    wallets.momo.funds = 100
    assert (await wallets.seen(made, 10))["state"] == "paid"
    return made


async def paid_in_coins(wallets: Wallets) -> Any:
    made = await wallets.top_up("crypto")
    await wallets.seen(made)
    wallets.coinbase.settle(next(iter(wallets.coinbase.checkouts)), "COMPLETED")
    assert (await wallets.seen(made, 10))["state"] == "paid"
    return made


async def followed(wallets: Wallets, made: Any, times: int = 6) -> list[str]:
    """The states of its reversals after some looks."""
    for _ in range(times):
        shown = await wallets.seen(made, 120)
    return [one["state"] for one in shown["reversals"]]


def sent_back(wallets: Wallets) -> list[str]:
    return [one.body["amount"] for one in wallets.momo.paid("disbursement", "refund")]


async def test_a_part_goes_back_to_the_phone_and_then_the_rest(wallets: Wallets) -> None:
    made = await paid_by_phone(wallets)
    await wallets.refund(made, amount_usd="5.50")
    assert await wallets.free() == "$16.50"
    await wallets.refund(made)
    assert await followed(wallets, made) == ["stands", "stands"]
    assert (sent_back(wallets), await wallets.free()) == (["5.00", "15.00"], "$0.00")
    assert wallets.momo.calls["refund"] == 2
    assert await wallets.broken() == []


@pytest.mark.parametrize("kind", ["before", "after"])
@pytest.mark.parametrize("status", [0, 500])
async def test_a_lost_answer_is_one_refund(wallets: Wallets, kind: str, status: int) -> None:
    made = await paid_by_phone(wallets)
    blind = Fault("look_refund", "before", 404, body='{"code":"RESOURCE_NOT_FOUND"}')
    wallets.momo.faults.add(Fault("refund", kind, status), blind)
    await wallets.refund(made)
    assert await followed(wallets, made) == ["stands"]
    assert (sent_back(wallets), await wallets.free()) == (["20.00"], "$0.00")
    assert wallets.momo.calls["refund"] == 2  # after the work the second is answered with 409
    assert await wallets.broken() == []


async def test_a_refund_that_fails_at_the_end_is_credited_again(wallets: Wallets) -> None:
    made = await paid_by_phone(wallets)
    wallets.momo.funds = 0
    await wallets.refund(made)
    assert await wallets.free() == "$0.00"
    assert await followed(wallets, made) == ["returned"]
    assert (sent_back(wallets), await wallets.free()) == ([], "$22.00")
    assert await wallets.broken() == []


async def test_our_empty_account_makes_a_refund_wait(wallets: Wallets) -> None:
    made = await paid_by_phone(wallets)
    empty = json.dumps({"code": "NOT_ENOUGH_FUNDS", "message": "."})
    wallets.momo.faults.add(Fault("refund", "before", 500, body=empty, times=2))
    await wallets.refund(made)
    assert await followed(wallets, made) == ["stands"]
    assert (sent_back(wallets), await wallets.free()) == (["20.00"], "$0.00")


async def test_coins_go_back_and_a_message_tells_of_it(wallets: Wallets) -> None:
    made = await paid_in_coins(wallets)
    await wallets.refund(made, amount_usd="10")
    (checkout,) = wallets.coinbase.checkouts.values()
    (refund,) = checkout["refunds"]
    assert (refund["amount"], await wallets.free()) == ("10.00", "$12.00")
    wallets.coinbase.settle_refund(refund["id"], "COMPLETED")
    await wallets.messages()
    assert await followed(wallets, made, 1) == ["stands"]
    assert checkout["status"] == "PARTIALLY_REFUNDED"
    assert (await wallets.free(), await wallets.broken()) == ("$12.00", [])


async def test_coins_that_do_not_arrive_are_credited_again(wallets: Wallets) -> None:
    made = await paid_in_coins(wallets)
    await wallets.refund(made)
    ((refund,),) = (one["refunds"] for one in wallets.coinbase.checkouts.values())
    wallets.coinbase.settle_refund(refund["id"], "FAILED")
    await wallets.messages()
    assert await followed(wallets, made, 1) == ["returned"]
    assert (await wallets.free(), await wallets.broken()) == ("$22.00", [])


@pytest.mark.parametrize("kind", ["before", "after"])
async def test_a_lost_answer_of_coinbase_is_one_refund(wallets: Wallets, kind: str) -> None:
    made = await paid_in_coins(wallets)
    wallets.coinbase.faults.add(Fault("refund", kind))
    await wallets.refund(made, amount_usd="10")
    assert await followed(wallets, made) == ["stands"]
    (checkout,) = wallets.coinbase.checkouts.values()
    assert [one["amount"] for one in checkout["refunds"]] == ["10.00"]
    assert (await wallets.free(), await wallets.broken()) == ("$12.00", [])


async def test_a_refund_made_in_coinbases_own_pages_is_booked(wallets: Wallets) -> None:
    made = await paid_in_coins(wallets)
    (checkout,) = wallets.coinbase.checkouts.values()
    checkout["refunds"] = [
        {"id": "1", "amount": "4.00", "currency": "USDC", "status": "PENDING", "reason": "kind"}
    ]
    wallets.coinbase.settle_refund("1", "COMPLETED")
    await wallets.messages()
    assert await followed(wallets, made, 1) == ["stands"]
    assert (await wallets.free(), await wallets.broken()) == ("$18.00", [])
