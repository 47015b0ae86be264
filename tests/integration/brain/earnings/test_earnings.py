"""A provider's earnings: what the ledger has, by node and by day, young and matured."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from brain import billing, fleet
from brain.earnings import core
from brain.plumbing import Ctx
from brain.witness import judge_due
from brain.witness import routes as witness_routes
from kernel.clock import NS, ManualClock
from tests.support.fleet import Rig, brain_front
from tests.support.tenancy import Tenancy, rent

FEE_PERCENT = 15


@pytest.fixture
async def rig(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Rig]:
    async with brain_front(ctx, clock, valkey_url) as made:
        made.app.include_router(witness_routes.router)
        yield made


async def earned(tenancy: Tenancy, young_seconds: int = 3600) -> billing.Earned:
    rig = tenancy.rig
    async with rig.ctx.db.begin() as tx:
        young_ns = rig.clock.now_ns() - young_seconds * NS
        return await billing.earned(tx, rig.account, young_ns)


@pytest.mark.feature("C7")
async def test_earnings_are_the_ledgers_and_mature(rig: Rig) -> None:
    tenancy = await rent(rig)
    await tenancy.work(100)
    await tenancy.send(await tenancy.end())
    shown = await tenancy.receipt()
    whole = shown["billed_nano"] * (100 - FEE_PERCENT) // 100
    found = await earned(tenancy)
    assert (found.pending_nano, found.matured_nano, found.unpaid_nano) == (whole, 0, whole)
    rig.clock.advance(3601)
    found = await earned(tenancy)
    assert (found.pending_nano, found.matured_nano, found.unpaid_nano) == (0, whole, whole)


@pytest.mark.feature("C7")
async def test_what_went_back_is_not_earned(rig: Rig) -> None:
    tenancy = await rent(rig)
    await tenancy.work(100, counted=False)
    await tenancy.end()
    assert await judge_due(rig.ctx, wait_seconds=0) == 1
    found = await earned(tenancy)
    assert (found.pending_nano, found.matured_nano, found.unpaid_nano) == (0, 0, 0)


async def test_by_node_and_by_day_they_sum_to_the_whole(rig: Rig) -> None:
    tenancies = [await rent(rig), await rent(rig)]
    for tenancy in tenancies:
        await tenancy.work(50)
        await tenancy.end()
    async with rig.ctx.db.begin() as tx:
        parts = await billing.earned_by_day(tx, rig.account, 0)
        placed = await fleet.nodes_of_leases(tx, [part.lease_id for part in parts if part.lease_id])
    nodes = core.by_node(parts, placed)
    assert set(nodes) == {tenancy.agent.node_id for tenancy in tenancies}
    whole = (await earned(tenancies[0])).pending_nano
    assert sum(one.earned_nano for one in nodes.values()) == whole > 0
    assert sum(one.earned_nano for one in core.by_day(parts).values()) == whole


@pytest.mark.feature("C7")
async def test_utilisation_is_the_share_of_time_under_a_lease(rig: Rig) -> None:
    start_ns = rig.clock.now_ns()
    tenancy = await rent(rig)
    await tenancy.work(100)
    await tenancy.end()
    await rig.pass_time(299, tenancy.agent)
    async with rig.ctx.db.begin() as tx:
        (node,) = await fleet.nodes_of_account(tx, rig.account)
        leased = await fleet.leased_gpu_ns(
            tx, [node.node_id], since_ns=start_ns, now_ns=rig.clock.now_ns()
        )
    span_ns = rig.clock.now_ns() - start_ns
    assert leased == {node.node_id: 100 * NS}
    share = core.utilisation_ppm(leased[node.node_id], node.gpus, span_ns)
    assert share == 100 * NS * core.PPM // span_ns
    assert core.utilisation_ppm(5, 0, span_ns) == 0
