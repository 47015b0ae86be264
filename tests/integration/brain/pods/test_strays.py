"""Volumes that nobody owns: an administrator has them removed, by name, and nothing else goes."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from brain.plumbing import Ctx, audit
from brain.pods import strays
from brain.pods.strays import Stray
from kernel.errors import Conflict, NotFound
from tests.support.fleet import Agent
from tests.support.pods import Yard

pytestmark = pytest.mark.feature("E2")
LOST, OTHER = "vol_" + "e" * 32, "vol_" + "d" * 32
ADMIN = "user_root"


async def node_with(yard: Yard, *volumes: str) -> Agent:
    node = await yard.node()
    node.volumes.update(dict.fromkeys(volumes, 12))
    await yard.settle(1)
    return node


async def drop(yard: Yard, node: Agent, volume_id: str) -> Stray:
    async with yard.ctx.db.begin() as tx:
        return await strays.drop(tx, yard.ctx, node.node_id, volume_id, ADMIN)


async def shown(ctx: Ctx) -> list[tuple[str, bool]]:
    async with ctx.db.begin() as tx:
        found = await strays.listed(tx, limit=10)
    return [(one.row.volume_id, one.dropping) for one in found]


async def orders(ctx: Ctx) -> list[str]:
    async with ctx.db.begin() as tx:
        return list(await tx.scalars(text("SELECT volume_id FROM volume_drop")))


async def test_a_stray_that_an_administrator_drops_goes_and_the_other_stays(yard: Yard) -> None:
    node = await node_with(yard, LOST, OTHER)
    assert (await drop(yard, node, LOST)).dropping
    assert sorted(await shown(yard.ctx)) == [(OTHER, False), (LOST, True)]
    assert set(node.volumes) == {LOST, OTHER}
    await yard.settle(3)
    assert set(node.volumes) == {OTHER}
    assert (await shown(yard.ctx), await orders(yard.ctx)) == ([(OTHER, False)], [])


async def test_each_is_in_the_audit_log_once(yard: Yard) -> None:
    node = await node_with(yard, LOST)
    await drop(yard, node, LOST)
    await drop(yard, node, LOST)
    async with yard.ctx.db.begin() as tx:
        query = select(audit.Audit).where(audit.Audit.action == "stray_volume.drop")
        (line,) = await tx.scalars(query)
    assert (line.actor, line.subject) == (ADMIN, str(node.node_id))
    assert line.detail == {"volume_id": LOST, "used_mib": 12}


async def test_a_node_that_was_not_told_yet_proves_nothing(yard: Yard) -> None:
    node = await node_with(yard, LOST)
    await drop(yard, node, LOST)
    await yard.watch.flush()
    del node.volumes[LOST]  # as when its disk is not mounted for a moment
    await node.beat()  # of the generation before
    await yard.watch.flush()
    assert await orders(yard.ctx) == [LOST]
    await yard.settle(2)
    assert (await shown(yard.ctx), await orders(yard.ctx)) == ([], [])


async def test_what_has_an_owner_or_was_never_reported_is_not_dropped(yard: Yard) -> None:
    node = await node_with(yard, LOST)
    with pytest.raises(NotFound, match="reports no stray volume"):
        await drop(yard, node, OTHER)
    async with yard.ctx.db.begin() as tx:  # a restore gave it its owner back
        await tx.execute(
            text(
                "INSERT INTO volume (volume_id, account_id, name, size_gib, price_nano, node_id,"
                " used_mib, owed_ns, created_at, state, state_reason, state_at, version) VALUES"
                " (:volume, :account, 'back', 1, 1, :node, 0, 0, now(), 'kept', '', now(), 1)"
            ),
            {"volume": LOST, "account": yard.account, "node": node.node_id},
        )
    with pytest.raises(Conflict, match="has an owner"):
        await drop(yard, node, LOST)
    assert await orders(yard.ctx) == []
