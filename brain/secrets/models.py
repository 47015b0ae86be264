"""Tables of secrets: what accounts keep here, and what one lease is given. Sealed, both."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, LargeBinary, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, IdColumn
from kernel.ids import AccountId, LeaseId, SecretId


class AccountSecret(Base):
    """A named value of an account's. ``sealed`` is bound to the account and the name."""

    __tablename__ = "account_secret"
    __table_args__ = (UniqueConstraint("account_id", "name", name="uq_account_secret_name"),)

    secret_id: Mapped[SecretId] = mapped_column(IdColumn(SecretId), primary_key=True)
    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId))
    name: Mapped[str] = mapped_column(Text)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    changed_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class LeaseSecret(Base):
    """All that one lease is given, as one sealed value bound to the lease; gone when it closes."""

    __tablename__ = "lease_secret"

    lease_id: Mapped[LeaseId] = mapped_column(IdColumn(LeaseId), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
