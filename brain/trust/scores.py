"""Keeps each node's score: what happened since the last look becomes events, then one sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brain import billing, fleet
from brain.marketplace import Node
from brain.plumbing import Ctx, Tx
from brain.trust import standing
from brain.trust.core import events as core
from brain.trust.core.events import LeaseEnd
from brain.trust.core.windows import Window
from brain.trust.models import NodeTrust
from brain.trust.store import reliability
from brain.trust.store import windows as window_store
from kernel import reliability as formula
from kernel.clock import NS
from kernel.errors import NotFound
from kernel.ids import AccountId, NodeId
from kernel.reliability import Event, Score

SCORE_SECONDS = 60  # a score is at most so old, when the tick keeps up
PAGE = 200
LOOK_BACK_NS = 600 * NS  # a lease's end may be committed later than it is dated
MICROSECOND_NS = 1_000


@dataclass(frozen=True)
class Scored:
    """A score as it is kept, with all that it came from."""

    node_id: NodeId
    since_ns: int
    as_of_ns: int
    score: Score


def since_of(node: Node) -> int:
    """When the node joined, as the score counts its life."""
    return int(node.created_at.timestamp() * 1_000_000) * MICROSECOND_NS


async def score_due(ctx: Ctx, limit: int = PAGE) -> int:
    """Bring the scores up to date that are due; how many were. Safe many times at once."""
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        await reliability.ensure_rows(tx)
        await reliability.note_outages(tx, await fleet.silent_nodes(tx), now_ns)
    async with ctx.db.begin() as tx:
        due = await reliability.take_due(tx, now_ns - SCORE_SECONDS * NS, limit)
        if due:
            await _score(tx, due, now_ns)
    return len(due)


async def _score(tx: Tx, due: Sequence[tuple[NodeTrust, Node]], now_ns: int) -> None:
    node_ids = [node.node_id for _, node in due]
    kept_ns = now_ns - formula.KEPT_SECONDS * NS
    windows = await window_store.of_nodes(tx, node_ids, kept_ns)
    await _add_lease_events(tx, due, windows, kept_ns)
    fresh = [
        (node_id, core.of_outage(from_ns, until_ns or now_ns, windows.get(node_id, ())))
        for node_id, from_ns, until_ns in await reliability.outages(tx, node_ids, kept_ns)
    ]
    await reliability.add_events(tx, fresh)
    known = await reliability.events(tx, node_ids, kept_ns, now_ns)
    for row, node in due:
        found = formula.score(known.get(node.node_id, ()), since_ns=since_of(node), as_of_ns=now_ns)
        row.ppm, row.scored_ns = found.ppm, now_ns
    await tx.flush()
    await standing.restand(tx, node_ids, now_ns)


async def _add_lease_events(
    tx: Tx,
    due: Sequence[tuple[NodeTrust, Node]],
    windows: dict[NodeId, list[Window]],
    kept_ns: int,
) -> None:
    owners = {node.node_id: node.account_id for _, node in due}
    after_ns = {row.node_id: max(kept_ns, row.scored_ns - LOOK_BACK_NS) for row, _ in due}
    ended = [
        lease
        for lease in await fleet.ended_leases(tx, sorted(owners), min(after_ns.values()))
        if lease.closed_ns > after_ns[lease.node_id]
    ]
    payers = await billing.lease_payers(tx, [lease.lease_id for lease in ended])
    fresh: list[tuple[NodeId, Event]] = []
    for lease in ended:
        own = payers.get(lease.lease_id) == owners[lease.node_id]
        end = LeaseEnd(
            lease_id=str(lease.lease_id),
            opened_ns=lease.opened_ns,
            last_ns=lease.last_ns,
            closed_ns=lease.closed_ns,
            outcome=lease.outcome.value,
            unasked=lease.unasked,
            reason=lease.reason,
        )
        event = core.of_lease(end, windows.get(lease.node_id, ()), own=own)
        if event is not None:
            fresh.append((lease.node_id, event))
    await reliability.add_events(tx, fresh)


async def visible_node(tx: Tx, node_id: NodeId, account_id: AccountId) -> Node:
    """A node that is listed, or one's own; another's is ``NotFound``."""
    node = await tx.get(Node, node_id)
    if node is None or node.rented or not (node.listed or node.account_id == account_id):
        raise NotFound("There is no node with this id.")
    return node


async def scored(tx: Tx, node: Node) -> Scored | None:
    """The node's score as it was last kept, with its events; None before the first."""
    row = await reliability.trust_row(tx, node.node_id)
    if row is None or row.scored_ns == 0:
        return None
    kept_ns = row.scored_ns - formula.KEPT_SECONDS * NS
    known = await reliability.events(tx, [node.node_id], kept_ns, row.scored_ns)
    found = formula.score(
        known.get(node.node_id, ()), since_ns=since_of(node), as_of_ns=row.scored_ns
    )
    return Scored(node.node_id, since_of(node), row.scored_ns, found)
