"""A node's keys: written down when it enrols, replaced when its agent asks."""

from __future__ import annotations

from datetime import datetime

from brain.marketplace import agent_store
from brain.plumbing import Tx
from kernel.errors import Conflict
from kernel.ids import NodeId


async def key_before(tx: Tx, node_id: NodeId, public_key: str) -> str:
    """The key that this one of the node took over from; empty when it did not."""
    row = await agent_store.key_row(tx, public_key)
    return row.replaced if row is not None and row.node_id == node_id else ""


async def replace_key(tx: Tx, node_id: NodeId, *, old: str, new: str, at: datetime) -> None:
    """The node's key from now on. ``Conflict`` when another change came first, or when the new
    key was ever a node's."""
    used = Conflict(
        "This public key belongs, or belonged, to a node. Make a new one.", code="key_in_use"
    )
    if not await agent_store.add_key(tx, node_id, new, replaced=old, at=at):
        raise used
    if not await agent_store.swap_key(tx, node_id, old, new):
        raise Conflict("The node's key changed just now. Try again.", code="key_changed")
