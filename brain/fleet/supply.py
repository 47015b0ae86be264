"""What the fleet has to offer now: found by query from GPUs and live leases, never counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from brain.fleet import core, store
from brain.plumbing import Ctx
from brain.scheduling import Offer, Trust
from kernel.clock import at_ns
from kernel.ids import AccountId, NodeId
from kernel.wire.agent import NvmlState

# GPUs are counted before nodes are joined: of 160,000 GPUs that is a third of the work.
_SUPPLY = """
WITH kinds AS (
  SELECT g.node_id, g.name AS gpu_name, g.memory_mib, g.simulated,
    count(*) FILTER (WHERE NOT g.lost) AS total,
    count(*) FILTER (WHERE NOT g.lost AND NOT g.foreign_use AND g.unhealthy = ''
      AND l.gpu_uuid IS NULL) AS free,
    count(*) FILTER (WHERE NOT g.lost AND g.foreign_use) AS foreign_use,
    count(*) FILTER (WHERE NOT g.lost AND g.unhealthy <> '') AS unhealthy_count,
    max(g.unhealthy) AS unhealthy
  FROM node_gpu g
  LEFT JOIN (SELECT DISTINCT gpu_uuid FROM lease_gpu WHERE live) l ON l.gpu_uuid = g.gpu_uuid
  WHERE CAST(:nodes AS text[]) IS NULL OR g.node_id = ANY(:nodes)
  GROUP BY g.node_id, g.name, g.memory_mib, g.simulated)
SELECT n.node_id, n.account_id, n.name AS node_name, n.price_nano, n.region, n.listed,
  f.engine, f.nvml, f.quarantined, f.silent_since_ns, b.last_seen_ns,
  k.gpu_name, k.memory_mib, k.simulated, k.total, k.free, k.foreign_use, k.unhealthy_count,
  k.unhealthy, s.withheld, coalesce(s.reliability_ppm, 1000000) AS reliability_ppm,
  s.closed_from_ns, s.closed_until_ns
FROM kinds k
JOIN node n ON n.node_id = k.node_id
JOIN fleet_node f ON f.node_id = k.node_id
JOIN node_beat b ON b.node_id = k.node_id
LEFT JOIN node_standing s ON s.node_id = k.node_id
WHERE n.revoked_at IS NULL AND NOT n.rented
ORDER BY k.node_id, k.gpu_name, k.memory_mib, k.simulated
"""


async def offers(ctx: Ctx, node_ids: Sequence[NodeId] | None = None) -> list[Offer]:
    """Every enrolled node's GPUs, one offer a kind; also those that may not be sold now, with
    the reason, so that the planner can say why.

    A brain that comes back has heard nobody yet: the nodes that it had stay on offer until they
    had the time to speak, or each restart would rent machines while our own stand idle.
    """
    nodes = None if node_ids is None else [str(node_id) for node_id in node_ids]
    async with ctx.db.begin() as tx:
        rows = (await tx.execute(text(_SUPPLY), {"nodes": nodes})).all()
        spans = await store.reception(tx)
    now_ns = ctx.clock.now_ns()
    since_ns = core.hearing(spans, now_ns).since_ns
    return [_offer(row, since_ns, now_ns) for row in rows]


def _offer(row: Any, since_ns: int | None, now_ns: int) -> Offer:
    live = core.NodeLiveness(row.node_id, row.last_seen_ns, row.silent_since_ns)
    return Offer(
        node_id=NodeId(row.node_id),
        node_name=row.node_name,
        gpu_name=row.gpu_name,
        vram_mib=row.memory_mib,
        free=row.free,
        total=row.total,
        price_nano=row.price_nano,
        seen_ns=core.last_known_ns(live, since_ns, now_ns),
        region=row.region,
        trust=Trust.COMMUNITY,
        simulated=row.simulated,
        engine=row.engine,
        reliability_ppm=row.reliability_ppm,
        withheld=_withheld(row, now_ns),
        account_id=AccountId(row.account_id),
    )


def _withheld(row: Any, now_ns: int) -> str:
    if not row.listed:
        return "Its provider does not list it now."
    if row.quarantined:
        return f"It is in quarantine: {row.quarantined}."
    if row.withheld:
        return str(row.withheld)
    if row.closed_from_ns is not None and row.closed_from_ns <= now_ns < row.closed_until_ns:
        until = at_ns(row.closed_until_ns)
        return f"It is, or is soon, in maintenance until {until:%Y-%m-%d %H:%M} UTC."
    if row.silent_since_ns is not None:
        return "It fell silent."
    if row.nvml == NvmlState.HUNG.value:
        return "Its GPU driver does not answer."
    if row.unhealthy_count == row.total > 0:
        return f"Its GPUs are not healthy: {row.unhealthy}."
    if row.foreign_use == row.total > 0:
        return "Its GPUs are used by work that is not ours."
    return ""
