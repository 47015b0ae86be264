"""Tables of payments: top-ups, what goes back of them, customers, refill rules, processors' lines.

No card number and no client secret is kept: those are the processor's, asked for when needed.
"""

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
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, IdColumn, Stated, Work
from kernel.ids import AccountId, RefundId, TopUpId

STAMP = DateTime(timezone=True)
ONE_AT_A_TIME = "automatic AND state IN ('created', 'asked', 'processing', 'needs_payer', 'parked')"


class TopUp(Stated, Work, Base):
    """Money that an account pays in, written down before its processor is called."""

    __tablename__ = "topup"
    __table_args__ = (
        CheckConstraint("amount_minor > 0 AND credit_nano = amount_minor * rate_nano", name="sum"),
        UniqueConstraint("processor", "reference"),
        Index("ix_topup_payment", "processor", "payment"),
        Index("ix_topup_account", "account_id", "topup_id"),
        Index(
            "uq_topup_automatic", "account_id", unique=True, postgresql_where=text(ONE_AT_A_TIME)
        ),
    )

    topup_id: Mapped[TopUpId] = mapped_column(IdColumn(TopUpId), primary_key=True)
    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId))
    processor: Mapped[str] = mapped_column(Text)
    method: Mapped[str] = mapped_column(Text)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(Text)
    credit_nano: Mapped[int] = mapped_column(BigInteger)
    rate_nano: Mapped[int] = mapped_column(BigInteger)  # nano-dollars for one minor unit
    rate_version: Mapped[str] = mapped_column(Text)
    customer: Mapped[str | None] = mapped_column(Text)
    payer: Mapped[str | None] = mapped_column(Text)  # a saved card, or a phone's number
    payer_label: Mapped[str] = mapped_column(Text)  # the same for people
    automatic: Mapped[bool] = mapped_column(Boolean)
    description: Mapped[str] = mapped_column(Text)
    return_url: Mapped[str | None] = mapped_column(Text)
    reference: Mapped[str | None] = mapped_column(Text)
    payment: Mapped[str | None] = mapped_column(Text)
    url: Mapped[str | None] = mapped_column(Text)
    hard: Mapped[bool] = mapped_column(Boolean)  # refused for good: it needs another card
    called_off: Mapped[bool] = mapped_column(Boolean)  # its owner does not want it any more
    disputed: Mapped[bool] = mapped_column(Boolean)
    fee_minor: Mapped[int | None] = mapped_column(BigInteger)  # booked; None: not known yet
    fee_bookings: Mapped[int] = mapped_column(Integer)  # how often it was booked
    failures: Mapped[int] = mapped_column(Integer)  # in a row, of calls for it
    last_error: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(STAMP)
    asked_at: Mapped[datetime | None] = mapped_column(STAMP)
    expires_at: Mapped[datetime] = mapped_column(STAMP)
    paid_at: Mapped[datetime | None] = mapped_column(STAMP)


class TopUpReversal(Stated, Work, Base):
    """A refund or a dispute. Its money left the account's balance while it is planned or stands."""

    __tablename__ = "topup_reversal"
    __table_args__ = (
        CheckConstraint("amount_minor > 0", name="amount"),
        CheckConstraint("kind IN ('refund', 'dispute')", name="kind"),
        UniqueConstraint("processor", "reference"),
    )

    refund_id: Mapped[RefundId] = mapped_column(IdColumn(RefundId), primary_key=True)
    topup_id: Mapped[TopUpId] = mapped_column(
        IdColumn(TopUpId), ForeignKey("topup.topup_id"), index=True
    )
    processor: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    ours: Mapped[bool] = mapped_column(Boolean)  # asked for here; else seen at the processor
    asked_by: Mapped[str] = mapped_column(Text)
    why: Mapped[str] = mapped_column(Text)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    reference: Mapped[str | None] = mapped_column(Text)
    fee_minor: Mapped[int] = mapped_column(BigInteger)  # booked
    fee_bookings: Mapped[int] = mapped_column(Integer)
    settled: Mapped[bool] = mapped_column(Boolean)
    failures: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(STAMP)


class PaymentCustomer(Base):
    """An account as a processor knows it."""

    __tablename__ = "payment_customer"

    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId), primary_key=True)
    processor: Mapped[str] = mapped_column(Text, primary_key=True)
    reference: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(STAMP)


class AutoRefill(Work, Base):
    """An account's rule; ``due_at`` None while it is off."""

    __tablename__ = "auto_refill"
    __table_args__ = (
        CheckConstraint("threshold_nano >= 0 AND amount_nano > 0", name="amounts"),
        CheckConstraint(
            "day_max_nano >= amount_nano AND month_max_nano >= amount_nano", name="cap"
        ),
    )

    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId), primary_key=True)
    enabled: Mapped[bool] = mapped_column(Boolean)
    threshold_nano: Mapped[int] = mapped_column(BigInteger)
    amount_nano: Mapped[int] = mapped_column(BigInteger)
    day_max_nano: Mapped[int] = mapped_column(BigInteger)
    month_max_nano: Mapped[int] = mapped_column(BigInteger)
    processor: Mapped[str] = mapped_column(Text)
    customer: Mapped[str] = mapped_column(Text)
    card: Mapped[str] = mapped_column(Text)
    card_label: Mapped[str] = mapped_column(Text)
    said: Mapped[str] = mapped_column(Text)  # why it waits, or is off
    changed_at: Mapped[datetime] = mapped_column(STAMP)


class PaymentLine(Base):
    """One change of our balance at a processor, as its own books have it."""

    __tablename__ = "payment_line"
    __table_args__ = (Index("ix_payment_line_payment", "processor", "payment"),)

    processor: Mapped[str] = mapped_column(Text, primary_key=True)
    reference: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    fee_minor: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(Text)
    payment: Mapped[str | None] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(STAMP)


class PaymentCursor(Base):
    """How far a processor's books were read."""

    __tablename__ = "payment_cursor"

    processor: Mapped[str] = mapped_column(Text, primary_key=True)
    read_until: Mapped[datetime] = mapped_column(STAMP)
    looked_at: Mapped[datetime] = mapped_column(STAMP)
