"""What administrators see and do about payments, and that nobody else may."""

from __future__ import annotations

from sqlalchemy import text

from tests.integration.brain.payments.test_going_back import paid
from tests.support.brain import admin
from tests.support.payments import Till

ROOT = "/api/v1/admin/payments/topups"


async def parked(till: Till) -> str:
    """A top-up for which another sum came than was asked for."""
    made = await till.top_up("40", method="page")
    async with till.ctx.db.begin() as tx:
        await tx.execute(text("UPDATE topup SET amount_minor = 4100, credit_nano = 41000000000"))
    await till.pay_page(made["url"])
    await till.pass_time(1)
    return str(made["topup_id"])


async def test_another_sum_is_parked_for_a_person_who_settles_it(till: Till) -> None:
    topup_id = await parked(till)
    assert (await till.balance(), await till.broken()) == ("$0.00", ["payments_known"])
    root = await admin(till.client, till.ctx)
    listed = await till.client.get(ROOT, params={"state": "parked"}, headers=root.headers)
    assert [one["topup_id"] for one in listed.json()["items"]] == [topup_id]
    body = {"reason": "refunded at the processor"}
    done = await till.client.post(f"{ROOT}/{topup_id}/settle", json=body, headers=root.headers)
    assert (done.status_code, done.json()["state"]) == (200, "failed")
    assert await till.broken() == []


async def test_an_account_may_do_nothing_of_it(till: Till) -> None:
    made = await paid(till)
    own = f"{ROOT}/{made['topup_id']}"
    answers = [
        await till.client.get(ROOT, headers=till.who.headers),
        await till.client.post(f"{own}/refund", json={}, headers=till.who.headers),
        await till.client.post(f"{own}/settle", json={"reason": "x"}, headers=till.who.headers),
    ]
    assert [answer.status_code for answer in answers] == [403, 403, 403]
