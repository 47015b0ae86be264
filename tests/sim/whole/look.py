"""What all laws need of the database, in one statement: a round trip costs more than its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]
Seen = Mapping[str, Rows]

# $1: history from this transaction on; $2: GPUs that work now; $3: the leases they work for.
_LOOKS: Mapping[str, str] = {
    "moves": "SELECT xmin::text::bigint AS xid, entity, entity_id, version, state_before, event,"
    " state, reason FROM state_history WHERE xmin::text::bigint >= $1",
    "nodes": "SELECT f.node_id, f.generation, f.epoch, f.silent_since_ns, b.last_seen_ns"
    " FROM fleet_node f JOIN node_beat b ON b.node_id = f.node_id",
    "guards": "SELECT deployment_id, price_max_nano, max_duration_seconds, idle_stop_seconds"
    " FROM deployment",
    "evidence": "SELECT m.lease_id, m.opened_ns, m.evidence_ns FROM meter_lease m"
    " JOIN lease l ON l.lease_id = m.lease_id WHERE NOT l.agentless",
    "agentless": "SELECT m.lease_id, m.evidence_ns, i.cloud, i.machine_id FROM meter_lease m"
    " JOIN provision_intent i ON i.lease_id = m.lease_id WHERE i.agentless"
    " AND m.evidence_ns > m.opened_ns",
    "free": "SELECT g.gpu_uuid FROM node_gpu g WHERE g.gpu_uuid = ANY($2) AND NOT EXISTS"
    " (SELECT 1 FROM lease_gpu l WHERE l.live AND l.gpu_uuid = g.gpu_uuid)",
    "over": "SELECT lease_id, node_id, outcome FROM lease WHERE state = 'closed'"
    " AND lease_id = ANY($3)",
    "intents": "SELECT intent_id, cloud, state, attempt, tag, machine_id FROM provision_intent",
    "unknown": "SELECT cloud, machine_id, state FROM unknown_machine",
    "sweeps": "SELECT cloud, began_ns FROM cloud_sweep WHERE complete ORDER BY began_ns",
}
# Plans are made once for each world: its tables stay small.
CONNECTION: Mapping[str, str] = {"plan_cache_mode": "force_generic_plan", "jit": "off"}


def one_statement(laws: Sequence[tuple[str, str]]) -> str:
    """All of it as one JSON object; ``books``: what breaks the laws of SQL, by their numbers."""
    broken = " UNION ALL ".join(
        f"SELECT {number} AS law, broken::text FROM ({sql}) AS q{number}(broken)"
        for number, (_, sql) in enumerate(laws)
    )
    parts = [
        f"'{name}', coalesce((SELECT json_agg(row_to_json(r)) FROM ({sql}) r), '[]')"
        for name, sql in {"books": broken, **_LOOKS}.items()
    ]
    return f"SELECT json_build_object({', '.join(parts)})"
