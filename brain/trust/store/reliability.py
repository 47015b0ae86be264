"""SQL of outages, events and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from brain.marketplace import Node
from brain.plumbing import Tx
from brain.trust.models import NodeOutage, NodeTrust, ReliabilityEvent
from kernel.ids import NodeId
from kernel.reliability import Event, EventKind


async def ensure_rows(tx: Tx) -> None:
    """A row for every provider's node; its first check is due at once."""
    missing = (
        select(Node.node_id)
        .outerjoin(NodeTrust, NodeTrust.node_id == Node.node_id)
        .where(NodeTrust.node_id.is_(None), Node.revoked_at.is_(None), ~Node.rented)
    )
    values = [
        {"node_id": node_id, "ppm": 1_000_000, "scored_ns": 0, "due_ns": 0}
        for node_id in await tx.scalars(missing)
    ]
    if values:
        await tx.execute(insert(NodeTrust).values(values).on_conflict_do_nothing())


async def take_due(tx: Tx, before_ns: int, limit: int) -> list[tuple[NodeTrust, Node]]:
    """Nodes whose score is older than that, held until the transaction ends."""
    rows = await tx.execute(
        select(NodeTrust, Node)
        .join(Node, Node.node_id == NodeTrust.node_id)
        .where(NodeTrust.scored_ns <= before_ns, Node.revoked_at.is_(None))
        .order_by(NodeTrust.scored_ns, NodeTrust.node_id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=NodeTrust)
        .execution_options(populate_existing=True)
    )
    return [(row[0], row[1]) for row in rows]


async def trust_row(tx: Tx, node_id: NodeId) -> NodeTrust | None:
    return await tx.scalar(
        select(NodeTrust)
        .where(NodeTrust.node_id == node_id)
        .execution_options(populate_existing=True)
    )


async def note_outages(tx: Tx, silent: Mapping[NodeId, int], now_ns: int) -> None:
    """Open the outages of silent nodes, and end those of nodes that are heard again."""
    if silent:
        rows = [{"node_id": key, "from_ns": silent[key]} for key in sorted(silent)]
        await tx.execute(insert(NodeOutage).values(rows).on_conflict_do_nothing())
    open_rows = await tx.execute(
        select(NodeOutage.node_id, NodeOutage.from_ns).where(NodeOutage.until_ns.is_(None))
    )
    for node_id, from_ns in open_rows.all():
        if silent.get(node_id) == from_ns:
            continue
        await tx.execute(
            update(NodeOutage)
            .where(
                NodeOutage.node_id == node_id,
                NodeOutage.from_ns == from_ns,
                NodeOutage.until_ns.is_(None),
            )
            .values(until_ns=max(now_ns, from_ns))
            .execution_options(synchronize_session=False)
        )


async def outages(
    tx: Tx, node_ids: Sequence[NodeId], after_ns: int
) -> list[tuple[NodeId, int, int | None]]:
    """(node, from, until) of outages that are not over or ended after that time."""
    rows = await tx.execute(
        select(NodeOutage.node_id, NodeOutage.from_ns, NodeOutage.until_ns)
        .where(
            NodeOutage.node_id.in_(node_ids),
            NodeOutage.until_ns.is_(None) | (NodeOutage.until_ns > after_ns),
        )
        .order_by(NodeOutage.node_id, NodeOutage.from_ns)
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def add_events(tx: Tx, events: Sequence[tuple[NodeId, Event]]) -> None:
    """Each once: the same thing is never counted twice."""
    if not events:
        return
    rows = [
        {
            "node_id": node_id,
            "kind": event.kind.value,
            "subject": event.subject,
            "at_ns": event.at_ns,
            "seconds": event.seconds,
            "detail": event.detail[:500],
        }
        for node_id, event in events
    ]
    statement = insert(ReliabilityEvent).values(rows)
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=["node_id", "kind", "subject"],
            set_={
                "at_ns": statement.excluded.at_ns,
                "seconds": statement.excluded.seconds,
                "detail": statement.excluded.detail,
            },
            where=ReliabilityEvent.seconds.is_distinct_from(statement.excluded.seconds),
        )
    )


async def events(
    tx: Tx, node_ids: Sequence[NodeId], since_ns: int, until_ns: int
) -> dict[NodeId, list[Event]]:
    rows = await tx.scalars(
        select(ReliabilityEvent).where(
            ReliabilityEvent.node_id.in_(node_ids),
            ReliabilityEvent.at_ns >= since_ns,
            ReliabilityEvent.at_ns <= until_ns,
        )
    )
    found: dict[NodeId, list[Event]] = {}
    for row in rows:
        event = Event(row.at_ns, EventKind(row.kind), row.subject, row.seconds, row.detail)
        found.setdefault(row.node_id, []).append(event)
    return found
