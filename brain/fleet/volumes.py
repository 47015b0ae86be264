"""Volumes that nodes are to remove: named in the desired set until the node has them no more."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from brain.fleet import store
from brain.fleet.models import VolumeDrop
from brain.plumbing import Tx
from kernel.ids import NodeId


async def drop_volume(tx: Tx, node_id: NodeId, volume_id: str) -> None:
    """From its next beat on the node is told to remove this volume. May be repeated. No work that
    uses it may hold a lease there."""
    made = await tx.execute(
        insert(VolumeDrop)
        .values(node_id=node_id, volume_id=volume_id)
        .on_conflict_do_nothing()
        .returning(VolumeDrop.volume_id)
    )
    if made.one_or_none() is not None:
        await store.raise_generation(tx, node_id)


async def volume_dropped(tx: Tx, node_id: NodeId, volume_id: str) -> None:
    """The node has it no more, and need not be told again. May be repeated."""
    await tx.execute(
        delete(VolumeDrop).where(VolumeDrop.node_id == node_id, VolumeDrop.volume_id == volume_id)
    )
    await store.raise_generation(tx, node_id)


async def drops(tx: Tx, node_ids: Sequence[NodeId]) -> dict[NodeId, list[str]]:
    """What each of these nodes is to remove."""
    rows = await tx.execute(
        select(VolumeDrop.node_id, VolumeDrop.volume_id)
        .where(VolumeDrop.node_id.in_(node_ids))
        .order_by(VolumeDrop.volume_id)
    )
    found: dict[NodeId, list[str]] = {}
    for node_id, volume_id in rows:
        found.setdefault(node_id, []).append(volume_id)
    return found


async def generation_of(tx: Tx, node_id: NodeId) -> int | None:
    """The generation of a node's desired set; None: the fleet does not know it."""
    node = await store.fleet_node(tx, node_id)
    return None if node is None else node.generation
