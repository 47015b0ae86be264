"""Time without a sign of life is credited without asking: it is never on the bill."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from brain import billing, fleet, trust
from brain.app import create_app
from brain.bridges import DeploymentWatch, OwnersOfWork
from brain.plumbing import Ctx
from brain.trust import TrustTerms, windows
from brain.trust.windows import Announcement
from catalog import load_catalog
from kernel.clock import NS, ManualClock
from kernel.ids import AccountId
from tests.support.brain import Somebody, quick_passwords, running, settings_for_tests, signed_up
from tests.support.deployments import House, give
from tests.support.fleet import brain_front

HOUR_NS = 3600 * NS


@pytest.fixture
async def renter(
    ctx: Ctx, clock: ManualClock, valkey_url: str, database_url: str
) -> AsyncIterator[tuple[House, httpx.AsyncClient, Somebody]]:
    app = create_app(settings_for_tests(database_url), ctx=ctx, passwords=quick_passwords())
    async with (
        running(app) as client,
        brain_front(ctx, clock, valkey_url, watcher=DeploymentWatch(ctx)) as rig,
    ):
        who = await signed_up(client)
        account = AccountId(who.account_id)
        await give(ctx, account)
        yield House(rig, ctx, clock, load_catalog(), account), client, who


async def bill(house: House) -> None:
    """The ticks of money, until there is nothing more to do."""
    for _ in range(3):
        await billing.settle_due(house.ctx, billing.MeterPolicy())
        await billing.accrue_due(house.ctx)
        await billing.release_due(house.ctx)


@pytest.mark.feature("C6")
async def test_a_lost_lease_is_billed_to_its_last_sign_of_life_and_the_receipt_says_so(
    renter: tuple[House, httpx.AsyncClient, Somebody],
) -> None:
    house, client, who = renter
    node = await house.node()
    made = await house.ready()
    [replica] = await house.replicas(made)
    lease = await house.lease(replica)
    began_ns = house.clock.now_ns()
    await house.rig.pass_time(600, node)
    heard_ns = house.clock.now_ns()
    await bill(house)  # an hourly bill or accrual may come while it runs
    other = await house.node()
    await house.stop(made)
    await house.rig.pass_time(680, other)
    await house.rig.reconcile()
    assert (await house.rig.lease(lease.lease_id)).outcome is fleet.Outcome.LOST
    house.clock.advance(180)
    await bill(house)
    receipt = await seen(client, who, f"/api/v1/receipts/lease/{lease.lease_id}")
    buckets, rate = receipt["buckets"], receipt["renter_rate_nano"]
    served_ns = heard_ns - began_ns
    assert buckets["lost"] >= 670 * NS
    paid_ns = sum(buckets[name] for name in ("load", "busy", "idle", "drain"))
    assert served_ns <= paid_ns <= served_ns + 10 * NS
    owed = rate * paid_ns // HOUR_NS
    charged = sum(one["charge_nano"] for one in receipt["bills"])
    assert abs(charged - owed) <= 1
    assert receipt["outcome"] == "lost"
    assert any("no sign of life" in said for said in receipt["explanation"])
    balance = await seen(client, who, "/api/v1/billing/balance")
    assert balance["held_nano"] == 0


async def seen(client: httpx.AsyncClient, who: Somebody, path: str) -> dict[str, Any]:
    answer = await client.get(path, headers=who.headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.feature("C6")
async def test_who_rents_on_a_node_reads_of_its_maintenance_among_the_events(
    renter: tuple[House, httpx.AsyncClient, Somebody],
) -> None:
    """A pod's events are those of the deployment under it, so its owner reads the same."""
    house, client, who = renter
    node = await house.node()
    made = await house.ready()
    now_ns = house.clock.now_ns()
    wanted = Announcement(now_ns + 6 * HOUR_NS, now_ns + 8 * HOUR_NS, "new fans")
    await windows.announce(house.ctx, node.node_id, house.rig.account, wanted, 3600)
    for _ in range(2):
        await trust.look(house.ctx, TrustTerms(check_seconds=0), OwnersOfWork(house.ctx))
    told = await seen(client, who, f"/api/v1/deployments/{made}/events")
    said = [one["reason"] for one in told["items"] if one["what"] == "maintenance_announced"]
    assert len(said) == 1
    assert "new fans" in said[0]
    assert "nothing is billed" in said[0]
