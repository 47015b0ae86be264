"""What a cloud billed beside what we recorded: by its own interface, and imported."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from brain.costs import CostProofs, Recorder, Terms, fetch_bills, record_due
from brain.costs.bills import statements
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Ctx
from tests.integration.brain.costs.test_hours import sums
from tests.support.brain import admin as administrator
from tests.support.clouds import Sky

PLACE = "/api/v1/admin/cloud-bills"


async def holds(ctx: Ctx) -> bool:
    async with ctx.db.begin() as tx:
        proofs = await CostProofs(PLATFORM_ACCOUNT).proofs(tx, ctx.clock.now_ns())
    return next(proof.holds for proof in proofs if proof.name == "cloud_bills")


@pytest.mark.feature("L1", "B1")
async def test_a_rented_machine_costs_what_its_cloud_billed(sky: Sky) -> None:
    ctx = sky.ctx
    await sky.serving()
    sky.clock.advance(7200)
    await record_due(ctx, Terms(Recorder(ctx, b"k" * 32)))
    intent = await sky.intent()
    spent = await sums(ctx, "provider")
    # No window is posted in this world: ten minutes are waited for it.
    ran = (sky.clock.now_ns() - (intent.ordered_ns or 0)) / 1e9 - 600
    assert spent["runpod"] == pytest.approx(intent.cost_nano_hour * ran / 3600, rel=0.001)
    assert await fetch_bills(ctx, sky.clouds) == 1
    assert await fetch_bills(ctx, sky.clouds) == 0
    sky.clock.advance(2)
    async with ctx.db.begin() as tx:
        [told] = await statements(tx, ctx.clock.now_ns())
    assert (told.cloud, told.lines, told.unknown) == ("runpod", 1, 0)
    assert told.billed_nano == pytest.approx(told.recorded_nano, rel=0.005)
    assert await holds(ctx)


def a_line(**changed: Any) -> dict[str, Any]:
    day = {"from_at": "2027-01-01T00:00:00Z", "until_at": "2027-01-02T00:00:00Z"}
    return {"machine_id": "m1", **day, "amount_usd": "12.50", **changed}


@pytest.mark.feature("L1")
async def test_an_imported_bill_that_we_have_no_record_of_is_an_alarm(
    brain: httpx.AsyncClient, ctx: Ctx
) -> None:
    root, place = await administrator(brain, ctx), f"{PLACE}/vast"
    body = {"statement": "2027-01", "lines": [a_line(), a_line(machine_id="m2")]}
    answers = [await brain.post(place, json=body, headers=root.headers) for _ in range(2)]
    assert [(a.json()["added"], a.json()["known"]) for a in answers] == [(2, 0), (0, 2)]
    other = {**body, "lines": [a_line(amount_usd="12.51")]}
    assert (await brain.post(place, json=other, headers=root.headers)).status_code == 409
    assert (
        await brain.post(place, json={**other, "replace": True}, headers=root.headers)
    ).status_code == 201
    [shown] = (await brain.get(PLACE, headers=root.headers)).json()
    assert (shown["billed_usd"], shown["recorded_usd"]) == ("$12.51", "$0.00")
    assert (shown["agrees"], shown["unknown_machines"]) == (False, 1)
    assert not await holds(ctx)
    none = {**body, "statement": "of others", "only_ours": True}
    assert (await brain.post(place, json=none, headers=root.headers)).json()["left_out"] == 2


@pytest.mark.feature("L1")
@pytest.mark.parametrize(
    "wrong",
    [
        {"amount_usd": "much"},
        {"until_at": "2027-01-01T00:00:00Z"},
        {"from_at": "2027-01-01T00:00:00"},
        {"machine_id": "a\nb"},
        {"more": 1},
    ],
)
async def test_a_bill_that_makes_no_sense_is_refused(
    brain: httpx.AsyncClient, ctx: Ctx, wrong: dict[str, Any]
) -> None:
    root = await administrator(brain, ctx)
    body = {"statement": "one", "lines": [a_line(**wrong)]}
    answer = await brain.post(f"{PLACE}/vast", json=body, headers=root.headers)
    assert answer.status_code == 422
