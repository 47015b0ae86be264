"""A node's standing: what the rooms above found, kept where every claim looks at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert

from brain.fleet.models import NodeStanding
from brain.plumbing import Tx
from kernel.ids import NodeId


@dataclass(frozen=True)
class Standing:
    """See ``NodeStanding``. The default is that of a node of which nothing was found."""

    withheld: str = ""
    reliability_ppm: int = 1_000_000
    closed_from_ns: int | None = None
    closed_until_ns: int | None = None


async def set_standing(tx: Tx, node_id: NodeId, now: Standing) -> bool:
    """Keep it; False when it was so already. May be repeated."""
    values = {
        "withheld": now.withheld[:1000],
        "reliability_ppm": now.reliability_ppm,
        "closed_from_ns": now.closed_from_ns,
        "closed_until_ns": now.closed_until_ns,
    }
    statement = insert(NodeStanding).values(node_id=node_id, **values)
    changed = or_(*(getattr(NodeStanding, k).is_distinct_from(v) for k, v in values.items()))
    done = await tx.execute(
        statement.on_conflict_do_update(
            index_elements=["node_id"], set_=values, where=changed
        ).returning(NodeStanding.node_id)
    )
    return done.one_or_none() is not None


async def standings(tx: Tx, node_ids: Sequence[NodeId]) -> dict[NodeId, Standing]:
    """Of those nodes that have one."""
    rows = await tx.execute(
        select(
            NodeStanding.node_id,
            NodeStanding.withheld,
            NodeStanding.reliability_ppm,
            NodeStanding.closed_from_ns,
            NodeStanding.closed_until_ns,
        ).where(NodeStanding.node_id.in_(node_ids))
    )
    return {row[0]: Standing(*row[1:]) for row in rows}
