"""One GPU named by two nodes that both speak: someone lies, so neither is sold."""

from __future__ import annotations

from sqlalchemy import text

from brain.plumbing import Tx
from kernel.clock import NS
from kernel.ids import NodeId

SPOKE_NS = 60 * NS  # a node silent for longer does not count: its GPU may have moved

_DOUBLE = """
WITH named_twice AS (
  SELECT gpu_uuid FROM node_gpu GROUP BY gpu_uuid HAVING count(*) > 1
), speaking AS (
  SELECT g.gpu_uuid, g.node_id FROM named_twice t
  JOIN node_gpu g ON g.gpu_uuid = t.gpu_uuid
  JOIN node_beat b ON b.node_id = g.node_id
  JOIN node n ON n.node_id = g.node_id
  WHERE n.revoked_at IS NULL AND b.last_seen_ns >= :since
), doubled AS (
  SELECT s.node_id, min(s.gpu_uuid) AS gpu_uuid FROM speaking s
  WHERE EXISTS (SELECT 1 FROM speaking o
                WHERE o.gpu_uuid = s.gpu_uuid AND o.node_id <> s.node_id)
  GROUP BY s.node_id
), wanted AS (
  SELECT f.node_id,
    coalesce('its GPU ' || d.gpu_uuid || ' is named by another node as well', '') AS why
  FROM fleet_node f LEFT JOIN doubled d ON d.node_id = f.node_id
)
SELECT f.node_id, w.why FROM fleet_node f JOIN wanted w ON w.node_id = f.node_id
WHERE f.quarantined <> w.why ORDER BY f.node_id
"""


async def shares_gpu(tx: Tx, node_id: NodeId) -> bool:
    """Whether any other node ever named one of this node's GPUs."""
    found = await tx.scalar(
        text(
            "SELECT EXISTS (SELECT 1 FROM node_gpu own JOIN node_gpu other"
            " ON other.gpu_uuid = own.gpu_uuid AND other.node_id <> own.node_id"
            " WHERE own.node_id = :node_id)"
        ),
        {"node_id": node_id},
    )
    return bool(found)


async def judge(tx: Tx, now_ns: int) -> list[str]:
    """Put nodes into quarantine, or let them out, as their GPUs say now. Returns the changed."""
    found = await tx.execute(text(_DOUBLE), {"since": now_ns - SPOKE_NS})
    changed = found.all()
    for node_id, why in changed:
        await tx.execute(
            text(
                "UPDATE fleet_node SET quarantined = :why,"
                " xid = pg_current_xact_id()::text::bigint WHERE node_id = :node_id"
            ),
            {"node_id": node_id, "why": why},
        )
    return [row.node_id for row in changed]
