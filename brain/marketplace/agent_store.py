"""SQL of nodes' keys, of the agent's releases, and of how updates go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from brain.marketplace.models import AgentRelease, Node, NodeKey, NodeUpdate
from brain.plumbing import Tx
from kernel.ids import NodeId


@dataclass(frozen=True)
class UpdateNews:
    """``outcome``: told, done or failed."""

    node_id: NodeId
    outcome: str
    reason: str
    at_ns: int


async def key_row(tx: Tx, public_key: str) -> NodeKey | None:
    return await tx.get(NodeKey, public_key)


async def node_keys(tx: Tx, node_id: NodeId) -> list[str]:
    """Every key that the node had, the newest first."""
    rows = await tx.scalars(
        select(NodeKey.public_key)
        .where(NodeKey.node_id == node_id)
        .order_by(NodeKey.since_at.desc(), NodeKey.public_key)
    )
    return list(rows)


async def add_key(tx: Tx, node_id: NodeId, public_key: str, *, replaced: str, at: datetime) -> bool:
    """Write a key down; False when it was ever any node's."""
    made = await tx.scalars(
        insert(NodeKey)
        .values(public_key=public_key, node_id=node_id, replaced=replaced, since_at=at)
        .on_conflict_do_nothing(index_elements=["public_key"])
        .returning(NodeKey.public_key)
    )
    return made.one_or_none() is not None


async def swap_key(tx: Tx, node_id: NodeId, old: str, new: str) -> bool:
    """The node's key, if it is still ``old``."""
    swapped = await tx.scalars(
        update(Node)
        .where(Node.node_id == node_id, Node.public_key == old, Node.revoked_at.is_(None))
        .values(public_key=new)
        .execution_options(synchronize_session=False)
        .returning(Node.node_id)
    )
    return swapped.one_or_none() is not None


async def release_since(tx: Tx, sha256: str, version: str, now_ns: int) -> int:
    """When this installation began to hand this file out.

    One that was handed out before another begins anew: going back is a change like any other.
    """
    row = await tx.scalar(select(AgentRelease).where(AgentRelease.sha256 == sha256))
    newest = await tx.scalar(select(func.max(AgentRelease.since_ns)))
    if row is not None and row.since_ns == newest:
        return row.since_ns
    statement = insert(AgentRelease).values(sha256=sha256, version=version, since_ns=now_ns)
    statement = statement.on_conflict_do_update(
        index_elements=["sha256"], set_={"since_ns": now_ns}
    )
    await tx.execute(statement)
    return now_ns


async def save_news(tx: Tx, sha256: str, news: Sequence[UpdateNews]) -> None:
    """The last word for each node."""
    if not news:
        return
    last = {one.node_id: one for one in news}
    statement = insert(NodeUpdate).values(
        [
            {
                "node_id": one.node_id,
                "sha256": sha256,
                "outcome": one.outcome,
                "reason": one.reason,
                "since_ns": one.at_ns,
            }
            for one in last.values()
        ]
    )
    changed = {name: statement.excluded[name] for name in ("outcome", "reason", "since_ns")}
    await tx.execute(
        statement.on_conflict_do_update(index_elements=["node_id", "sha256"], set_=changed)
    )


async def outcomes(tx: Tx, sha256: str) -> dict[str, int]:
    """How many nodes were told, are done, failed."""
    rows = await tx.execute(
        select(NodeUpdate.outcome, func.count())
        .where(NodeUpdate.sha256 == sha256)
        .group_by(NodeUpdate.outcome)
    )
    return {row[0]: row[1] for row in rows}
