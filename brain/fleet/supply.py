"""What the fleet has to offer now: found by query from GPUs and live leases, never counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from brain.plumbing import Ctx
from brain.scheduling import Offer, Trust
from kernel.ids import AccountId, NodeId
from kernel.wire.agent import NvmlState

_SUPPLY = """
SELECT n.node_id, n.account_id, n.name AS node_name, n.price_nano, n.region, n.listed,
  f.engine, f.nvml, f.quarantined, f.silent_since_ns, b.last_seen_ns,
  g.name AS gpu_name, g.memory_mib, g.simulated,
  count(*) FILTER (WHERE NOT g.lost) AS total,
  count(*) FILTER (WHERE NOT g.lost AND NOT g.foreign_use AND NOT EXISTS (
    SELECT 1 FROM lease_gpu l WHERE l.live AND l.gpu_uuid = g.gpu_uuid)) AS free,
  count(*) FILTER (WHERE NOT g.lost AND g.foreign_use) AS foreign_use
FROM node n
JOIN fleet_node f ON f.node_id = n.node_id
JOIN node_beat b ON b.node_id = n.node_id
JOIN node_gpu g ON g.node_id = n.node_id
WHERE n.revoked_at IS NULL AND NOT n.rented
  AND (CAST(:nodes AS text[]) IS NULL OR n.node_id = ANY(:nodes))
GROUP BY n.node_id, f.node_id, b.node_id, g.name, g.memory_mib, g.simulated
ORDER BY n.node_id, g.name, g.memory_mib, g.simulated
"""


async def offers(ctx: Ctx, node_ids: Sequence[NodeId] | None = None) -> list[Offer]:
    """Every enrolled node's GPUs, one offer a kind; also those that may not be sold now, with
    the reason, so that the planner can say why."""
    nodes = None if node_ids is None else [str(node_id) for node_id in node_ids]
    async with ctx.db.begin() as tx:
        rows = (await tx.execute(text(_SUPPLY), {"nodes": nodes})).all()
    return [_offer(row) for row in rows]


def _offer(row: Any) -> Offer:
    return Offer(
        node_id=NodeId(row.node_id),
        node_name=row.node_name,
        gpu_name=row.gpu_name,
        vram_mib=row.memory_mib,
        free=row.free,
        total=row.total,
        price_nano=row.price_nano,
        seen_ns=row.last_seen_ns,
        region=row.region,
        trust=Trust.COMMUNITY,
        simulated=row.simulated,
        engine=row.engine,
        withheld=_withheld(row),
        account_id=AccountId(row.account_id),
    )


def _withheld(row: Any) -> str:
    if not row.listed:
        return "Its provider does not list it now."
    if row.quarantined:
        return f"It is in quarantine: {row.quarantined}."
    if row.silent_since_ns is not None:
        return "It fell silent."
    if row.nvml == NvmlState.HUNG.value:
        return "Its GPU driver does not answer."
    if row.foreign_use == row.total > 0:
        return "Its GPUs are used by work that is not ours."
    return ""
