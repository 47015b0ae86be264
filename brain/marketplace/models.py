"""Tables of the marketplace: providers, join tokens, nodes."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, CheckConstraint, DateTime, ForeignKey, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing.db import Base, IdColumn
from kernel.ids import AccountId, NodeId, TokenId


class Provider(Base):
    """An account that offers nodes."""

    __tablename__ = "provider"

    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class JoinToken(Base):
    """One use, half an hour. Only the digest is kept; the secret is shown once."""

    __tablename__ = "join_token"
    __table_args__ = (Index("ix_join_token_account_id", "account_id"),)

    token_id: Mapped[TokenId] = mapped_column(IdColumn(TokenId), primary_key=True)
    account_id: Mapped[AccountId] = mapped_column(
        IdColumn(AccountId), ForeignKey("provider.account_id")
    )
    digest: Mapped[str] = mapped_column(Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    node_id: Mapped[NodeId | None] = mapped_column(IdColumn(NodeId))


class Node(Base):
    """A machine: its public key says who it is, its price says what it asks."""

    __tablename__ = "node"
    __table_args__ = (
        Index("ix_node_account_id", "account_id"),
        CheckConstraint("price_nano >= 0", name="price_not_negative"),
    )

    node_id: Mapped[NodeId] = mapped_column(IdColumn(NodeId), primary_key=True)
    account_id: Mapped[AccountId] = mapped_column(
        IdColumn(AccountId), ForeignKey("provider.account_id")
    )
    name: Mapped[str] = mapped_column(Text)
    public_key: Mapped[str] = mapped_column(Text, unique=True)
    price_nano: Mapped[int] = mapped_column(BigInteger)
    listed: Mapped[bool] = mapped_column(Boolean)
    rented: Mapped[bool] = mapped_column(Boolean)  # a cloud's machine, for one lease
    region: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class NodeKey(Base):
    """Every key that a node ever had: none comes back, neither here nor at another node."""

    __tablename__ = "node_key"
    __table_args__ = (Index("ix_node_key_node_id", "node_id"),)

    public_key: Mapped[str] = mapped_column(Text, primary_key=True)
    node_id: Mapped[NodeId] = mapped_column(IdColumn(NodeId), ForeignKey("node.node_id"))
    replaced: Mapped[str] = mapped_column(Text)  # the key before it; "" for the first
    since_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class AgentRelease(Base):
    """An agent's file that this installation hands out, and since when: waves count from there."""

    __tablename__ = "agent_release"

    sha256: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[str] = mapped_column(Text)
    since_ns: Mapped[int] = mapped_column(BigInteger)


class NodeUpdate(Base):
    """How a node's update to a release went: told, done or failed."""

    __tablename__ = "node_update"

    node_id: Mapped[NodeId] = mapped_column(
        IdColumn(NodeId), ForeignKey("node.node_id"), primary_key=True
    )
    sha256: Mapped[str] = mapped_column(Text, primary_key=True)
    outcome: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    since_ns: Mapped[int] = mapped_column(BigInteger)
