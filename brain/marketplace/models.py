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
