"""Tables of payouts: where each provider is paid, and every payout that was ever asked for."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from brain.payouts.states import UNDER_WAY
from brain.plumbing import Base, IdColumn, Stated, Work
from kernel.ids import AccountId, PayoutId

STAMP = DateTime(timezone=True)
_UNDER_WAY = ", ".join(f"'{state.value}'" for state in sorted(UNDER_WAY))


class PayoutDestination(Base):
    """Where a provider wants its money. ``ready`` and ``said`` are the processor's word of
    ``checked_at``; None: it was not asked yet."""

    __tablename__ = "payout_destination"
    __table_args__ = (CheckConstraint("method IN ('stripe', 'momo')", name="method"),)

    account_id: Mapped[AccountId] = mapped_column(
        IdColumn(AccountId), ForeignKey("provider.account_id"), primary_key=True
    )
    method: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(Text)
    automatic: Mapped[bool] = mapped_column(Boolean)
    ready: Mapped[bool] = mapped_column(Boolean)
    said: Mapped[str] = mapped_column(Text)
    checked_at: Mapped[datetime] = mapped_column(STAMP)
    changed_at: Mapped[datetime] = mapped_column(STAMP)


class Payout(Stated, Work, Base):
    """One payout, with all that is needed to pay it again in the same words. At most one of a
    provider is under way, and at most one of each period does not fail."""

    __tablename__ = "payout"
    __table_args__ = (
        CheckConstraint("amount_minor > 0 AND nano > 0", name="amount"),
        Index(
            "uq_payout_period",
            "account_id",
            "period",
            unique=True,
            postgresql_where=text("state <> 'failed'"),
        ),
        Index(
            "uq_payout_under_way",
            "account_id",
            unique=True,
            postgresql_where=text(f"state IN ({_UNDER_WAY})"),
        ),
        Index("ix_payout_account", "account_id", "payout_id"),
        Index("ix_payout_state", "state", "payout_id"),
    )

    payout_id: Mapped[PayoutId] = mapped_column(IdColumn(PayoutId), primary_key=True)
    account_id: Mapped[AccountId] = mapped_column(
        IdColumn(AccountId), ForeignKey("provider.account_id")
    )
    period: Mapped[str] = mapped_column(Text)
    method: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)
    nano: Mapped[int] = mapped_column(BigInteger)  # what the ledger sets aside
    amount_minor: Mapped[int] = mapped_column(BigInteger)  # what is sent
    currency: Mapped[str] = mapped_column(Text)
    rate_version: Mapped[str] = mapped_column(Text)
    nano_per_unit: Mapped[int] = mapped_column(BigInteger)
    automatic: Mapped[bool] = mapped_column(Boolean)
    reference: Mapped[str | None] = mapped_column(Text)  # the processor's own
    called_at: Mapped[datetime | None] = mapped_column(STAMP)  # when it was first called
    calls: Mapped[int] = mapped_column(Integer)  # that may have done something
    looks: Mapped[int] = mapped_column(Integer)  # since it entered its state
    seen_minor: Mapped[int | None] = mapped_column(BigInteger)  # as the processor told it
    seen_currency: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(STAMP)
    settled_at: Mapped[datetime | None] = mapped_column(STAMP)
