"""Nodes for people: rows and the last telemetry put together; and the end of a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, select

from brain.fleet import leases, store
from brain.fleet.models import FleetNode, LeaseGpu, NodeBeat, NodeGpu
from brain.fleet.ports import LeaseWatcher
from brain.marketplace import Node, node_of_account, revoke_node
from brain.plumbing import Ctx, Tx, audit
from kernel.ids import AccountId, NodeId

REVOKE_LOOKS_MAX = 5
REVOKED = "its node was revoked by the provider"


@dataclass(frozen=True)
class NodeRows:
    """One node's rows. ``held`` are the GPUs that a live lease holds."""

    node: Node
    fleet: FleetNode | None
    beat: NodeBeat | None
    gpus: tuple[NodeGpu, ...]
    held: frozenset[str]
    leases: int


async def visible_nodes(
    tx: Tx, account_id: AccountId, *, after: str | None, limit: int, own: bool
) -> list[NodeRows]:
    """Nodes in id order: the account's own, and (unless ``own``) all that are listed."""
    mine = Node.account_id == account_id
    seen: ColumnElement[bool] = mine if own else or_(mine, Node.listed)
    wanted = (
        select(Node, FleetNode, NodeBeat)
        .outerjoin(FleetNode, FleetNode.node_id == Node.node_id)
        .outerjoin(NodeBeat, NodeBeat.node_id == Node.node_id)
        .where(Node.revoked_at.is_(None), ~Node.rented, seen)
        .order_by(Node.node_id)
        .limit(limit)
    )
    if after is not None:
        wanted = wanted.where(Node.node_id > after)
    rows = (await tx.execute(wanted)).all()
    ids = [node.node_id for node, _, _ in rows]
    gpus = await _gpus(tx, ids)
    held = await _held(tx, ids)
    live = await store.live_leases(tx, ids)
    return [
        NodeRows(
            node=node,
            fleet=fleet,
            beat=beat,
            gpus=tuple(gpus.get(node.node_id, ())),
            held=frozenset(held.get(node.node_id, ())),
            leases=sum(1 for lease in live if lease.node_id == node.node_id),
        )
        for node, fleet, beat in rows
    ]


async def revoke(ctx: Ctx, watcher: LeaseWatcher, node_id: NodeId, account_id: AccountId) -> int:
    """Refuse the node's key from now on and end its leases. Returns how many end.

    Its word counts no more, so no evidence is waited for: the leases are lost at once, their bill
    ends at the last sign of life, and gateways take no link of them. Its GPUs are not offered
    again.
    """
    async with ctx.db.begin() as tx:
        await node_of_account(tx, node_id, account_id)
        await revoke_node(tx, node_id, ctx.clock.now())
        await store.touch_node(tx, node_id)
        await audit.record(tx, ctx, account_id, "node.revoked", node_id)
    ended = 0
    # A beat that was let in before may still renew one between the look and its end.
    for _ in range(REVOKE_LOOKS_MAX):
        async with ctx.db.begin() as tx:
            live = [store.facts(row) for row in await store.live_leases(tx, [node_id])]
        if not live:
            break
        now_ns = ctx.clock.now_ns()
        for facts in live:
            ended += await leases.lose(ctx, watcher, facts, REVOKED, now_ns=now_ns)
    return ended


async def _gpus(tx: Tx, node_ids: Sequence[NodeId]) -> dict[NodeId, list[NodeGpu]]:
    rows = await tx.scalars(
        select(NodeGpu).where(NodeGpu.node_id.in_(node_ids)).order_by(NodeGpu.position)
    )
    found: dict[NodeId, list[NodeGpu]] = {}
    for row in rows:
        found.setdefault(row.node_id, []).append(row)
    return found


async def _held(tx: Tx, node_ids: Sequence[NodeId]) -> dict[NodeId, list[str]]:
    rows = await tx.execute(
        select(NodeGpu.node_id, NodeGpu.gpu_uuid)
        .join(LeaseGpu, LeaseGpu.gpu_uuid == NodeGpu.gpu_uuid)
        .where(LeaseGpu.live, NodeGpu.node_id.in_(node_ids))
    )
    found: dict[NodeId, list[str]] = {}
    for row in rows:
        found.setdefault(row.node_id, []).append(row.gpu_uuid)
    return found
