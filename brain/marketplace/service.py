"""Verbs of the marketplace: become a provider, make a join token, enrol a node, set its price."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from brain.marketplace import agent_store, core, store
from brain.marketplace.models import JoinToken, Node, Provider
from brain.marketplace.prices import default_price_nano
from brain.plumbing import Ctx, Tx, audit
from kernel.errors import Conflict, Forbidden, LimitReached, NotFound, Unauthenticated
from kernel.ids import AccountId, NodeId, TokenId
from kernel.wire.agent import EnrollRequest


@dataclass(frozen=True)
class JoinTerms:
    """What a new agent is told of this installation."""

    installation_id: str
    brain_url: str
    beat_seconds: int
    wheels_dir: str = ""


@dataclass(frozen=True)
class NewToken:
    """``secret`` is shown once and not kept."""

    token_id: TokenId
    secret: str
    expires_at: datetime


@dataclass(frozen=True)
class NodeTerms:
    """Who offers a node, under which key, and what it asks per GPU-hour."""

    node_id: NodeId
    account_id: AccountId
    public_key: str
    price_nano: int
    listed: bool
    revoked: bool


@dataclass(frozen=True)
class NodeChange:
    """What a provider may change; None leaves it as it is."""

    price_nano: int | None = None
    listed: bool | None = None
    name: str | None = None
    region: str | None = None


async def become_provider(ctx: Ctx, account_id: AccountId, name: str) -> Provider:
    """Make the account a provider, or rename it. May be repeated."""
    async with ctx.db.begin() as tx:
        return await store.save_provider(tx, account_id, name, ctx.clock.now())


async def make_join_token(ctx: Ctx, account_id: AccountId) -> NewToken:
    """A one-use token for one node; its secret is in the answer only."""
    now = ctx.clock.now()
    secret = core.new_token()
    token_id = ctx.ids.new(TokenId)
    async with ctx.db.begin() as tx:
        if await store.provider(tx, account_id) is None:
            raise Forbidden("Become a provider first: POST /api/v1/provider with a name.")
        if await store.open_tokens(tx, account_id, now) >= core.OPEN_TOKENS_MAX:
            raise LimitReached(
                f"{core.OPEN_TOKENS_MAX} join tokens are open; use them or let them expire.",
                retry_after=60,
            )
        row = JoinToken(
            token_id=token_id,
            account_id=account_id,
            digest=core.token_digest(secret),
            created_at=now,
            expires_at=now + core.TOKEN_LASTS,
        )
        tx.add(row)
        await tx.flush()
        await audit.record(tx, ctx, account_id, "join_token.made", token_id)
    return NewToken(token_id=token_id, secret=secret, expires_at=now + core.TOKEN_LASTS)


async def enrol(ctx: Ctx, request: EnrollRequest) -> NodeId:
    """Turn a join token into a node. The token and the node commit together or not at all.

    The same token with the same key answers the same node while the token lasts, because an
    answer can be lost; with another key it is refused.
    """
    core.check_enrolment(request)
    now = ctx.clock.now()
    digest = core.token_digest(request.token)
    node_id = ctx.ids.new(NodeId)
    async with ctx.db.begin() as tx:
        used = await store.use_token(tx, digest, node_id, now)
        if used is None:
            return await _enrolled_before(tx, digest, request, now)
        account_id, named_id = used
        if named_id != node_id:
            return await _enrol_rented(tx, ctx, named_id, account_id, request)
        gpu_name = request.gpus[0].name if request.gpus else ""
        node = Node(
            node_id=node_id,
            account_id=account_id,
            name=request.name or request.host.hostname,
            public_key=request.public_key.lower(),
            price_nano=default_price_nano(gpu_name, now.date()),
            listed=True,
            rented=False,
            region="",
            created_at=now,
        )
        if not await store.add_node(tx, node) or not await agent_store.add_key(
            tx, node_id, node.public_key, replaced="", at=now
        ):
            raise Conflict(
                "This public key belongs, or belonged, to a node. Remove the agent's state and"
                " enrol again with a new key.",
                code="key_in_use",
            )
        await audit.record(tx, ctx, account_id, "node.enrolled", node_id)
    return node_id


async def _enrol_rented(
    tx: Tx, ctx: Ctx, node_id: NodeId, account_id: AccountId, request: EnrollRequest
) -> NodeId:
    """The agent of a machine that was rented for one node, made before: its key, once."""
    key = request.public_key.lower()
    given = await store.give_key(tx, node_id, key)
    if not given or not await agent_store.add_key(
        tx, node_id, key, replaced="", at=ctx.clock.now()
    ):
        raise Conflict("This machine's node has an agent already.", code="key_in_use")
    await audit.record(tx, ctx, account_id, "node.enrolled", node_id)
    return node_id


async def _enrolled_before(tx: Tx, digest: str, request: EnrollRequest, now: datetime) -> NodeId:
    token = await store.token_by_digest(tx, digest)
    if token is None:
        raise Unauthenticated("This join token is not known. Make a new one and try again.")
    if token.node_id is not None and now < token.expires_at:
        node = await store.node(tx, token.node_id)
        if node is not None and node.public_key == request.public_key.lower():
            return node.node_id
    core.check_token(token.expires_at, token.used_at, now)
    raise Conflict("Someone else used this join token just now. Make a new one.")


async def node_terms(tx: Tx, node_id: NodeId) -> NodeTerms | None:
    """The node's terms, or None when there is no such node."""
    node = await store.node(tx, node_id)
    if node is None:
        return None
    return NodeTerms(
        node_id=node.node_id,
        account_id=node.account_id,
        public_key=node.public_key,
        price_nano=node.price_nano,
        listed=node.listed,
        revoked=node.revoked_at is not None,
    )


async def node_of_account(tx: Tx, node_id: NodeId, account_id: AccountId) -> Node:
    """The account's own node; another's is ``NotFound``."""
    node = await store.node_of_account(tx, node_id, account_id)
    if node is None:
        raise NotFound("You have no node with this id.")
    return node


async def nodes_of_account(
    tx: Tx, account_id: AccountId, *, after: NodeId | None, limit: int
) -> list[Node]:
    """The account's nodes in id order, after ``after``."""
    return await store.nodes_of_account(tx, account_id, after=after, limit=limit)


async def change_node(ctx: Ctx, node_id: NodeId, account_id: AccountId, change: NodeChange) -> Node:
    """Set price, listing, name or region. Running leases keep the price they were opened at."""
    async with ctx.db.begin() as tx:
        node = await node_of_account(tx, node_id, account_id)
        if node.revoked_at is not None:
            raise Conflict("This node was revoked and cannot be changed.")
        if change.price_nano is not None:
            node.price_nano = change.price_nano
        if change.listed is not None:
            node.listed = change.listed
        if change.name is not None:
            node.name = change.name
        if change.region is not None:
            node.region = change.region
        await tx.flush()
    return node


async def revoke_node(tx: Tx, node_id: NodeId, at: datetime) -> None:
    """Refuse this node's key from now on. May be repeated. (The fleet ends its leases.)"""
    await store.revoke(tx, node_id, at)
