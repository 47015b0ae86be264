"""Tables of identity: accounts, their users, their API keys."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, IdColumn
from kernel.ids import AccountId, KeyId, UserId


class Account(Base):
    """Who pays and owns."""

    __tablename__ = "account"

    id: Mapped[AccountId] = mapped_column(IdColumn(AccountId), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class User(Base):
    """Who logs in. ``email`` is in lower case."""

    __tablename__ = "app_user"

    id: Mapped[UserId] = mapped_column(IdColumn(UserId), primary_key=True)
    account_id: Mapped[AccountId] = mapped_column(
        IdColumn(AccountId), ForeignKey("account.id"), index=True
    )
    email: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text)
    password_hash: Mapped[str] = mapped_column(Text)
    roles: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    disabled_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class ApiKey(Base):
    """``digest`` is the hex sha256 of the whole secret; the secret itself is nowhere."""

    __tablename__ = "api_key"
    __table_args__ = (Index("ix_api_key_account_id_id", "account_id", "id"),)

    id: Mapped[KeyId] = mapped_column(IdColumn(KeyId), primary_key=True)
    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId), ForeignKey("account.id"))
    name: Mapped[str] = mapped_column(Text)
    prefix: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(Text, unique=True)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    models: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    cost_limit_nano: Mapped[int] = mapped_column(BigInteger)
    requests_per_minute: Mapped[int | None] = mapped_column(BigInteger)  # None: as all keys
    tokens_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    requests_at_once: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
