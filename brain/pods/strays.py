"""Verbs on volumes that a node reports and nobody owns there: see them, have one removed, end it.

None is ever removed by itself: after a database was restored from a backup it may be all that is
left of someone's work. An administrator's word is needed for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, text

from brain import fleet
from brain.plumbing import Ctx, Tx, audit
from brain.pods import volume_store
from brain.pods.models import StrayVolume
from kernel.errors import Conflict, NotFound
from kernel.ids import NodeId

_OWNED = text(
    """
    SELECT v.account_id FROM volume v
    WHERE v.volume_id = :volume AND v.state <> 'gone'
      AND (v.node_id = :node OR v.node_id IS NULL)
    """
)


@dataclass(frozen=True)
class Stray:
    """``dropping``: its node is told to remove it."""

    row: StrayVolume
    dropping: bool


async def listed(tx: Tx, *, limit: int) -> list[Stray]:
    """The first ``limit``, the longest known first."""
    rows = await volume_store.strays(tx, limit=limit)
    told = await _told(tx, rows)
    return [Stray(row, (row.volume_id, row.node_id) in told) for row in rows]


async def drop(tx: Tx, ctx: Ctx, node_id: NodeId, volume_id: str, actor: str) -> Stray:
    """Have its node remove one, with all that is on it. May be repeated. The agent waits until no
    container uses it.

    ``NotFound`` when no such stray was reported within the last hour, ``Conflict`` when it has an
    owner there by now.
    """
    row = await tx.get(StrayVolume, (node_id, volume_id), with_for_update=True)
    if row is None:
        raise NotFound(f"Node {node_id} reports no stray volume {volume_id[:100]!r}.")
    if (await tx.execute(_OWNED, {"volume": volume_id, "node": str(node_id)})).first() is not None:
        raise Conflict("This volume has an owner. Only its owner deletes it.", code="owned")
    if (volume_id, node_id) not in await _told(tx, [row]):
        await fleet.drop_volume(tx, node_id, volume_id)
        detail: audit.Detail = {"volume_id": volume_id[:200], "used_mib": row.used_mib}
        await audit.record(tx, ctx, actor, "stray_volume.drop", str(node_id), detail)
    return Stray(row, dropping=True)


async def dropping(tx: Tx) -> list[tuple[str, NodeId]]:
    """Strays that nodes are told to remove, with their nodes."""
    return sorted(await _told(tx, list(await tx.scalars(select(StrayVolume)))))


async def vanish(tx: Tx, volume_id: str, node_id: NodeId, generation: int) -> bool:
    """Its node, at this generation of what it was told, reports it no more. False when the node
    did not know yet that it was to go: that proves nothing."""
    told = await fleet.generation_of(tx, node_id)
    if told is None or generation < told:
        return False
    row = await tx.get(StrayVolume, (node_id, volume_id), with_for_update=True)
    if row is not None:
        await tx.delete(row)
        await tx.flush()
    await fleet.volume_dropped(tx, node_id, volume_id)
    return True


async def _told(tx: Tx, rows: Sequence[StrayVolume]) -> set[tuple[str, NodeId]]:
    """Those of ``rows`` that their nodes are told to remove."""
    if not rows:
        return set()
    orders = await fleet.volume_drops(tx, sorted({row.node_id for row in rows}))
    return {
        (row.volume_id, row.node_id) for row in rows if row.volume_id in orders.get(row.node_id, ())
    }
