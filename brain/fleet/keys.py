"""What an agent asks about its own node's key: a new one, or the end of the node.

A new key ends what the old one opened: every session of the node before it is over, at once.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from brain.fleet import nodes, sessions, store
from brain.fleet.core import plain
from brain.fleet.ports import LeaseWatcher
from brain.marketplace import NodeTerms, key_before, node_terms, replace_key
from brain.plumbing import Ctx, audit
from kernel.errors import BadInput, Forbidden, Unauthenticated
from kernel.ids import NodeId
from kernel.wire.agent import VERSION
from kernel.wire.keys import LeaveAnswer, LeaveRequest, RotateAnswer, RotateRequest, rotate_input


async def rotate(ctx: Ctx, request: RotateRequest) -> RotateAnswer:
    """The node's key from now on. The same request again is answered the same.

    Raises ``Unauthenticated`` for an unknown node or a signature that is not of the key that is
    replaced, ``Forbidden`` for a revoked node, ``Conflict`` for a key that was used before.
    """
    if request.v != VERSION:
        raise BadInput(f"This brain speaks agent protocol {VERSION}; update the agent.", param="v")
    new = request.public_key.lower()
    node_id = NodeId(plain(request.node_id))
    async with ctx.db.begin() as tx:
        terms = await node_terms(tx, node_id)
        before = await key_before(tx, node_id, new)
    old = before if terms is not None and terms.public_key == new else ""
    terms = _check(request, terms, old or (terms.public_key if terms is not None else ""), new)
    if terms.public_key == new:
        return RotateAnswer(new)
    now = ctx.clock.now()
    async with ctx.db.begin() as tx:
        await store.ensure_node(tx, node_id)
        node = await store.fleet_node(tx, node_id, lock=True)
        assert node is not None, "made the line before"
        await replace_key(tx, node_id, old=terms.public_key, new=new, at=now)
        await sessions.end_start(tx, node)
        await audit.record(tx, ctx, str(node_id), "node.key_rotated", node_id)
    return RotateAnswer(new)


def _check(request: RotateRequest, terms: NodeTerms | None, signer: str, new: str) -> NodeTerms:
    """Both signatures, before anything else is said of the node."""
    refused = Unauthenticated(
        "No node with this id and key is enrolled. Enrol it with a join token.",
        code="node_unknown",
    )
    if terms is None:
        raise refused
    text = rotate_input(request.node_id, request.public_key)
    try:
        for key, signature in ((signer, request.signature), (new, request.proof)):
            known = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))
            known.verify(bytes.fromhex(signature), text)
    except (InvalidSignature, ValueError):
        raise refused from None
    if terms.revoked:
        raise Forbidden("This node was revoked by its provider.", code="node_revoked")
    return terms


async def leave(
    ctx: Ctx, watcher: LeaseWatcher, node_id: NodeId, request: LeaveRequest
) -> LeaveAnswer:
    """The agent is taken off its host: as if its provider had revoked the node."""
    async with ctx.db.begin() as tx:
        terms = await node_terms(tx, node_id)
        assert terms is not None, "it has a session"
        detail = {"reason": plain(request.reason)}
        await audit.record(tx, ctx, str(node_id), "node.left", node_id, detail)
    return LeaveAnswer(await nodes.revoke(ctx, watcher, node_id, terms.account_id))
