"""All SQL of the marketplace."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from brain.marketplace.models import JoinToken, Node, Provider
from brain.plumbing import Tx
from kernel.ids import AccountId, NodeId


async def provider(tx: Tx, account_id: AccountId) -> Provider | None:
    return await tx.get(Provider, account_id)


async def save_provider(tx: Tx, account_id: AccountId, name: str, at: datetime) -> Provider:
    """Make or rename the provider."""
    statement = insert(Provider).values(account_id=account_id, name=name, created_at=at)
    statement = statement.on_conflict_do_update(
        index_elements=["account_id"], set_={"name": statement.excluded.name}
    )
    row = await tx.scalars(
        statement.returning(Provider), execution_options={"populate_existing": True}
    )
    return row.one()


async def open_tokens(tx: Tx, account_id: AccountId, now: datetime) -> int:
    found = await tx.scalar(
        select(func.count())
        .select_from(JoinToken)
        .where(
            JoinToken.account_id == account_id,
            JoinToken.used_at.is_(None),
            JoinToken.expires_at > now,
        )
    )
    return found or 0


async def token_by_digest(tx: Tx, digest: str) -> JoinToken | None:
    return await tx.scalar(select(JoinToken).where(JoinToken.digest == digest))


async def use_token(
    tx: Tx, digest: str, node_id: NodeId, now: datetime
) -> tuple[AccountId, NodeId] | None:
    """Consume the token for this node, or for the one that it was made for: whose, and which.

    None when it cannot be used (any more).
    """
    used = await tx.execute(
        update(JoinToken)
        .where(
            JoinToken.digest == digest,
            JoinToken.used_at.is_(None),
            JoinToken.expires_at > now,
        )
        .values(used_at=now, node_id=func.coalesce(JoinToken.node_id, node_id))
        .execution_options(synchronize_session=False)
        .returning(JoinToken.account_id, JoinToken.node_id)
    )
    found = used.one_or_none()
    return None if found is None else (found[0], NodeId(found[1]))


async def give_token(tx: Tx, row: JoinToken) -> None:
    """The one token that is good for this row's node; an older one that was not used is gone."""
    await tx.execute(
        delete(JoinToken).where(JoinToken.node_id == row.node_id, JoinToken.used_at.is_(None))
    )
    tx.add(row)
    await tx.flush()


async def give_key(tx: Tx, node_id: NodeId, public_key: str) -> bool:
    """The key of a node that was made without one; False when it has one, or another has this."""
    other = select(Node.node_id).where(Node.public_key == public_key)
    keyed = await tx.scalars(
        update(Node)
        .where(Node.node_id == node_id, Node.public_key == keyless(node_id), ~other.exists())
        .values(public_key=public_key)
        .execution_options(synchronize_session=False)
        .returning(Node.node_id)
    )
    return keyed.one_or_none() is not None


def keyless(node_id: NodeId) -> str:
    """What stands for the key of a node before its agent spoke: no signature fits it."""
    return f"none of {node_id}"


async def ensure_provider(tx: Tx, account_id: AccountId, name: str, at: datetime) -> None:
    statement = insert(Provider).values(account_id=account_id, name=name, created_at=at)
    await tx.execute(statement.on_conflict_do_nothing(index_elements=["account_id"]))


async def add_node(tx: Tx, node: Node) -> bool:
    """Insert the node; False when its public key is another node's."""
    made = await tx.scalars(
        insert(Node)
        .values(
            node_id=node.node_id,
            account_id=node.account_id,
            name=node.name,
            public_key=node.public_key,
            price_nano=node.price_nano,
            listed=node.listed,
            rented=node.rented,
            region=node.region,
            created_at=node.created_at,
        )
        .on_conflict_do_nothing(index_elements=["public_key"])
        .returning(Node.node_id)
    )
    return made.one_or_none() is not None


async def node(tx: Tx, node_id: NodeId) -> Node | None:
    return await tx.get(Node, node_id)


async def node_of_account(tx: Tx, node_id: NodeId, account_id: AccountId) -> Node | None:
    return await tx.scalar(
        select(Node).where(Node.node_id == node_id, Node.account_id == account_id)
    )


async def nodes_of_account(
    tx: Tx, account_id: AccountId, *, after: NodeId | None, limit: int
) -> list[Node]:
    wanted = select(Node).where(Node.account_id == account_id)
    if after is not None:
        wanted = wanted.where(Node.node_id > after)
    return list(await tx.scalars(wanted.order_by(Node.node_id).limit(limit)))


async def revoke(tx: Tx, node_id: NodeId, at: datetime) -> None:
    await tx.execute(
        update(Node)
        .where(Node.node_id == node_id, Node.revoked_at.is_(None))
        .values(revoked_at=at, listed=False)
    )


async def accounts_nodes(tx: Tx, node_ids: Sequence[NodeId]) -> dict[NodeId, list[NodeId]]:
    """Of each of these nodes, the nodes that its account offers, itself included."""
    own = select(Node.node_id, Node.account_id).where(Node.node_id.in_(node_ids)).subquery()
    rows = await tx.execute(
        select(own.c.node_id, Node.node_id)
        .join(Node, Node.account_id == own.c.account_id)
        .where(Node.revoked_at.is_(None), ~Node.rented)
        .order_by(own.c.node_id, Node.node_id)
    )
    found: dict[NodeId, list[NodeId]] = {}
    for node_id, mate in rows:
        found.setdefault(NodeId(node_id), []).append(mate)
    return found
