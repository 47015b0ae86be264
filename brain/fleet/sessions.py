"""Opening an agent's session: the node's own signature, each request once."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from brain.fleet import leases, store
from brain.fleet.models import AgentSession, FleetNode, NodeBeat
from brain.fleet.ports import LeaseWatcher
from brain.fleet.session import Session, new_session
from brain.marketplace import NodeTerms, node_terms
from brain.plumbing import Ctx, Tx
from kernel.errors import BadInput, Conflict, Forbidden, Unauthenticated
from kernel.ids import NodeId
from kernel.wire.agent import VERSION, SessionRequest, session_input


async def open_session(
    ctx: Ctx, watcher: LeaseWatcher, secret: bytes, request: SessionRequest
) -> Session:
    """A session for who holds the node's key. A new host boot ends the leases of the old one.

    Raises ``Unauthenticated`` for an unknown node or a wrong signature, ``Forbidden`` for a
    revoked node, ``Conflict`` for a request seen before or an agent that was replaced.
    """
    if request.v != VERSION:
        raise BadInput(f"This brain speaks agent protocol {VERSION}; update the agent.", param="v")
    async with ctx.db.begin() as tx:
        terms = await node_terms(tx, NodeId(request.node_id))
    node_id = _check_signature(request, terms)
    await _end_old_boot(ctx, watcher, node_id, request.host_boot_id)
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        await _admit(tx, ctx, node_id, request)
    return new_session(
        secret,
        node_id=node_id,
        agent_start_id=request.agent_start_id,
        host_boot_id=request.host_boot_id,
        now_ns=now_ns,
    )


def _check_signature(request: SessionRequest, terms: NodeTerms | None) -> NodeId:
    refused = Unauthenticated(
        "No node with this id and key is enrolled. Enrol it with a join token.",
        code="node_unknown",
    )
    if terms is None:
        raise refused
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(terms.public_key))
        key.verify(bytes.fromhex(request.signature), session_input(request))
    except (InvalidSignature, ValueError):
        raise refused from None
    if terms.revoked:
        raise Forbidden("This node was revoked by its provider.", code="node_revoked")
    return terms.node_id


async def _end_old_boot(
    ctx: Ctx, watcher: LeaseWatcher, node_id: NodeId, host_boot_id: str
) -> None:
    """The work of another boot of this host is gone, and with it the leases."""
    async with ctx.db.begin() as tx:
        node = await store.fleet_node(tx, node_id)
        if node is None or node.host_boot_id in ("", host_boot_id):
            return
        ended = [store.facts(row) for row in await store.live_leases(tx, [node_id])]
    for facts in ended:
        await leases.lose(
            ctx, watcher, facts, "the node's host booted anew", now_ns=ctx.clock.now_ns()
        )


async def _admit(tx: Tx, ctx: Ctx, node_id: NodeId, request: SessionRequest) -> None:
    await store.ensure_node(tx, node_id)
    node = await store.fleet_node(tx, node_id, lock=True)
    assert node is not None, "made the line before"
    await _use_nonce(tx, ctx, node, request)
    started = node.agent_start_id != request.agent_start_id
    if started:
        await _forget_nonces(tx, node_id, node.agent_start_id)
        node.agent_start_id = request.agent_start_id
    node.host_boot_id = request.host_boot_id
    node.agent_version = request.agent_version
    await tx.flush()
    await store.touch_node(tx, node_id)
    fresh = {"agent_start_id": request.agent_start_id, "seq": 0, "generation_applied": 0}
    seen = {"last_seen_ns": ctx.clock.now_ns()}
    await tx.execute(
        update(NodeBeat)
        .where(NodeBeat.node_id == node_id)
        .values(**(fresh | seen if started else seen))
        .execution_options(synchronize_session=False)
    )


async def end_start(tx: Tx, node: FleetNode) -> None:
    """Every session of the node is over; its agent opens the next one as a new start."""
    await _forget_nonces(tx, node.node_id, node.agent_start_id)
    node.agent_start_id = ""
    await tx.flush()
    await store.touch_node(tx, node.node_id)


async def _use_nonce(tx: Tx, ctx: Ctx, node: FleetNode, request: SessionRequest) -> None:
    if node.agent_start_id != request.agent_start_id:
        known = await tx.scalar(
            select(AgentSession.nonce)
            .where(
                AgentSession.node_id == node.node_id,
                AgentSession.agent_start_id == request.agent_start_id,
            )
            .limit(1)
        )
        if known is not None:
            raise Conflict(
                "Another agent took over this node. Stop one of them.", code="superseded"
            )
    used = await tx.execute(
        insert(AgentSession)
        .values(
            node_id=node.node_id,
            nonce=request.nonce,
            agent_start_id=request.agent_start_id,
            at=ctx.clock.now(),
        )
        .on_conflict_do_nothing(index_elements=["node_id", "nonce"])
        .returning(AgentSession.nonce)
    )
    if used.one_or_none() is None:
        raise Conflict("This session request was used before; sign a new nonce.", code="replayed")


async def _forget_nonces(tx: Tx, node_id: NodeId, agent_start_id: str) -> None:
    """One row of a replaced agent start is enough: the start itself is refused from now on."""
    of_start = (AgentSession.node_id == node_id, AgentSession.agent_start_id == agent_start_id)
    newest = select(AgentSession.nonce).where(*of_start).order_by(AgentSession.at.desc()).limit(1)
    await tx.execute(
        delete(AgentSession)
        .where(*of_start, AgentSession.nonce != newest.scalar_subquery())
        .execution_options(synchronize_session=False)
    )
