"""Puts a node's standing together from its windows, findings and score."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from brain import fleet
from brain.plumbing import Tx
from brain.trust.core import kinds, windows
from brain.trust.core.kinds import CheckKind
from brain.trust.models import NodeTrust
from brain.trust.store import findings
from brain.trust.store import windows as window_store
from kernel.ids import NodeId

WITHHELD_CHARS_MAX = 1000


async def restand(tx: Tx, node_ids: Sequence[NodeId], now_ns: int) -> list[NodeId]:
    """Make each node's standing what the rows say now; the changed ones. May be repeated."""
    if not node_ids:
        return []
    modes = await findings.modes(tx, now_ns)
    found = await findings.newest(tx, node_ids)
    open_windows = await window_store.of_nodes(tx, node_ids, now_ns)
    scored = await tx.execute(
        select(NodeTrust.node_id, NodeTrust.ppm).where(NodeTrust.node_id.in_(node_ids))
    )
    scores = {row.node_id: row.ppm for row in scored}
    before = await fleet.standings(tx, node_ids)
    changed = []
    for node_id in node_ids:
        closed = windows.closed(open_windows.get(node_id, ()), now_ns)
        now = fleet.Standing(
            withheld=kinds.withheld(found.get(node_id, ()), modes)[:WITHHELD_CHARS_MAX],
            reliability_ppm=scores.get(node_id, 1_000_000),
            closed_from_ns=None if closed is None else closed.from_ns,
            closed_until_ns=None if closed is None else closed.until_ns,
        )
        if now != before.get(node_id, fleet.Standing()):
            await fleet.set_standing(tx, node_id, now)
            changed.append(node_id)
    return changed


async def against(tx: Tx, node_id: NodeId, now_ns: int) -> set[tuple[CheckKind, str]]:
    """Which enforced kinds speak against which GPUs of a node now."""
    modes = await findings.modes(tx, now_ns)
    found = await findings.newest(tx, [node_id])
    return set(kinds.against(found.get(node_id, ()), modes))
