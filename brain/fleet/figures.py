"""Counts over the whole fleet, for graphs: a few grouped queries, no row a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text

from brain.fleet.core import SILENT_NS
from brain.plumbing import Tx


@dataclass(frozen=True)
class FleetFigures:
    """Each by state; every state is named, also where nothing is in it."""

    nodes: Mapping[str, int]
    gpus: Mapping[str, int]
    leases: Mapping[str, int]
    beat_age_seconds_max: float  # of nodes that are not marked silent


NODES = ("online", "silent", "quarantined", "never_heard")
GPUS = ("free", "held", "foreign", "unhealthy", "lost", "away")
LEASES = ("open", "stopping")

_NODES = """
SELECT CASE WHEN f.node_id IS NULL OR coalesce(b.last_seen_ns, 0) = 0 THEN 'never_heard'
            WHEN f.quarantined <> '' THEN 'quarantined'
            WHEN f.silent_since_ns IS NOT NULL OR b.last_seen_ns <= :silent THEN 'silent'
            ELSE 'online' END AS state,
       count(*) AS n, min(b.last_seen_ns) FILTER (WHERE f.silent_since_ns IS NULL
                                                  AND b.last_seen_ns > 0) AS oldest
FROM node n LEFT JOIN fleet_node f USING (node_id) LEFT JOIN node_beat b USING (node_id)
WHERE n.revoked_at IS NULL GROUP BY 1
"""
_GPUS = """
SELECT CASE WHEN EXISTS (SELECT 1 FROM lease_gpu l WHERE l.live AND l.gpu_uuid = g.gpu_uuid
                         AND l.node_id = g.node_id) THEN 'held'
            WHEN g.lost THEN 'lost'
            WHEN f.silent_since_ns IS NOT NULL THEN 'away'
            WHEN g.unhealthy <> '' THEN 'unhealthy'
            WHEN g.foreign_use THEN 'foreign'
            ELSE 'free' END AS state, count(*) AS n
FROM node_gpu g JOIN node n USING (node_id) JOIN fleet_node f USING (node_id)
WHERE n.revoked_at IS NULL GROUP BY 1
"""
_LEASES = "SELECT state, count(*) AS n FROM lease WHERE state <> 'closed' GROUP BY 1"


async def figures(tx: Tx, now_ns: int) -> FleetFigures:
    nodes = (await tx.execute(text(_NODES), {"silent": now_ns - SILENT_NS})).all()
    gpus = (await tx.execute(text(_GPUS))).all()
    leases = (await tx.execute(text(_LEASES))).all()
    oldest = [row.oldest for row in nodes if row.oldest is not None]
    return FleetFigures(
        nodes=dict.fromkeys(NODES, 0) | {row.state: row.n for row in nodes},
        gpus=dict.fromkeys(GPUS, 0) | {row.state: row.n for row in gpus},
        leases=dict.fromkeys(LEASES, 0) | {row.state: row.n for row in leases},
        beat_age_seconds_max=max(0, now_ns - min(oldest)) / 1e9 if oldest else 0.0,
    )


async def heard_nodes(tx: Tx, *, shard: int, shards: int, limit: int) -> list[str]:
    """Ids of nodes that are not revoked, in one share of ``shards``; at most ``limit``."""
    found = await tx.scalars(
        text(
            "SELECT node_id FROM node WHERE revoked_at IS NULL"
            " AND mod(abs(hashtext(node_id)::bigint), :shards) = :shard"
            " ORDER BY node_id LIMIT :limit"
        ),
        {"shard": shard, "shards": shards, "limit": limit},
    )
    return list(found)
