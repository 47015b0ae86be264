"""Modes of checks by the API: shadow first, counted, enforced by an administrator's word only."""

from __future__ import annotations

import httpx
import pytest

from brain.fleet.models import NodeStanding
from brain.marketplace import Node, service
from brain.plumbing import Ctx
from brain.trust.core.kinds import CheckKind, Finding
from brain.trust.models import CheckMode
from brain.trust.store import findings
from kernel.clock import ManualClock
from kernel.ids import AccountId, CheckId, NodeId
from tests.support.brain import admin, logged_in, signed_up

pytestmark = pytest.mark.feature("C6")
DAY = 86_400


async def make_node(ctx: Ctx, account_id: str) -> NodeId:
    await service.become_provider(ctx, AccountId(account_id), "provider")
    node_id = ctx.ids.new(NodeId)
    async with ctx.db.begin() as tx:
        tx.add(
            Node(
                node_id=node_id,
                account_id=AccountId(account_id),
                name="node",
                public_key=str(node_id),
                price_nano=1,
                listed=True,
                rented=False,
                region="",
                created_at=ctx.clock.now(),
            )
        )
    return node_id


async def find(ctx: Ctx, node_id: NodeId, *, passed: bool) -> None:
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        modes = await findings.modes(tx, now_ns)
        found = [Finding(CheckKind.MEMORY, "GPU-a", passed, now_ns, "" if passed else "no room")]
        await findings.add(tx, ctx.ids.new(CheckId), node_id, "boot", found, modes)


async def test_a_kind_is_enforced_after_its_days_in_shadow_mode_and_acts_at_once(
    brain: httpx.AsyncClient, ctx: Ctx, clock: ManualClock
) -> None:
    root = await admin(brain, ctx)
    first = await brain.get("/api/v1/admin/checks", headers=root.headers)
    assert {one["mode"] for one in first.json()["items"]} == {"shadow"}
    assert {one["kind"] for one in first.json()["items"]} == {kind.value for kind in CheckKind}
    node_id = await make_node(ctx, root.account_id)
    await find(ctx, node_id, passed=False)
    clock.advance(600)
    await find(ctx, node_id, passed=True)
    clock.advance(600)
    await find(ctx, node_id, passed=False)
    early = await brain.put(
        "/api/v1/admin/checks/memory", json={"mode": "enforced"}, headers=root.headers
    )
    assert early.status_code == 409
    assert "7 are needed" in early.json()["detail"]
    clock.advance(7 * DAY)
    root = await logged_in(brain, root.email, root.account_id)
    done = await brain.put(
        "/api/v1/admin/checks/memory", json={"mode": "enforced"}, headers=root.headers
    )
    assert done.status_code == 200, done.text
    async with ctx.db.begin() as tx:
        standing = await tx.get(NodeStanding, node_id)
        assert standing is not None
        assert standing.withheld == "It failed its memory check of GPU GPU-a: no room"
        row = await tx.get(CheckMode, "memory")
        assert row is not None
        assert row.changed_by == root.account_id
    back = await brain.put(
        "/api/v1/admin/checks/memory", json={"mode": "off"}, headers=root.headers
    )
    assert back.status_code == 200
    async with ctx.db.begin() as tx:
        standing = await tx.get(NodeStanding, node_id)
        assert standing is not None
        assert standing.withheld == ""


async def test_failures_that_were_contradicted_are_counted_as_wrong(
    brain: httpx.AsyncClient, ctx: Ctx, clock: ManualClock
) -> None:
    root = await admin(brain, ctx)
    node_id = await make_node(ctx, root.account_id)
    for passed, wait in ((False, 600), (True, 2 * DAY), (False, 2 * DAY), (True, 0)):
        await find(ctx, node_id, passed=passed)
        clock.advance(wait)
    root = await logged_in(brain, root.email, root.account_id)
    told = await brain.get("/api/v1/admin/checks", headers=root.headers)
    memory = next(one for one in told.json()["items"] if one["kind"] == "memory")
    assert (memory["passed"], memory["failed"], memory["false_positives"]) == (2, 2, 1)


async def test_only_administrators_see_and_set_modes(brain: httpx.AsyncClient) -> None:
    who = await signed_up(brain)
    for call in (
        brain.get("/api/v1/admin/checks", headers=who.headers),
        brain.put("/api/v1/admin/checks/memory", json={"mode": "off"}, headers=who.headers),
        brain.post(f"/api/v1/admin/nodes/node_{'0' * 32}/check", headers=who.headers),
    ):
        assert (await call).status_code == 403


async def test_what_is_no_kind_or_mode_is_said(brain: httpx.AsyncClient, ctx: Ctx) -> None:
    root = await admin(brain, ctx)
    headers = root.headers
    other = await brain.put("/api/v1/admin/checks/luck", json={"mode": "off"}, headers=headers)
    assert other.status_code == 404
    assert "sharing" in other.json()["detail"]
    wrong = await brain.put("/api/v1/admin/checks/memory", json={"mode": "on"}, headers=headers)
    assert wrong.status_code == 422
    nobody = await brain.post(f"/api/v1/admin/nodes/node_{'0' * 32}/check", headers=headers)
    assert nobody.status_code == 404


async def test_anothers_nodes_checks_are_not_found(brain: httpx.AsyncClient, ctx: Ctx) -> None:
    who, other = await signed_up(brain), await signed_up(brain)
    node_id = await make_node(ctx, other.account_id)
    path = f"/api/v1/provider/nodes/{node_id}/checks"
    assert (await brain.get(path, headers=who.headers)).status_code == 404
    own = await brain.get(path, headers=other.headers)
    assert (own.status_code, own.json()["withheld"], own.json()["findings"]) == (200, "", [])
    assert (await brain.get(path)).status_code == 401
