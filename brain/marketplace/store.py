"""All SQL of the marketplace."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select, update
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


async def use_token(tx: Tx, digest: str, node_id: NodeId, now: datetime) -> AccountId | None:
    """Consume the token for this node; None when it cannot be used (any more)."""
    used = await tx.scalars(
        update(JoinToken)
        .where(
            JoinToken.digest == digest,
            JoinToken.used_at.is_(None),
            JoinToken.expires_at > now,
        )
        .values(used_at=now, node_id=node_id)
        .execution_options(synchronize_session=False)
        .returning(JoinToken.account_id)
    )
    return used.one_or_none()


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
