"""Tables of documents. A trigger refuses every change of what is issued."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, IdColumn
from kernel.ids import AccountId, InvoiceId

STAMP = DateTime(timezone=True)


class Profile(Base):
    """Who a customer is on paper. Its row is the lock of all issuing for the account."""

    __tablename__ = "billing_profile"
    __table_args__ = (
        CheckConstraint("tax_basis_points BETWEEN 0 AND 10000", name="tax_basis_points"),
    )

    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId), primary_key=True)
    legal_name: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)  # lines
    country: Mapped[str] = mapped_column(Text)  # ISO 3166, two letters; "" where unknown
    tax_id: Mapped[str] = mapped_column(Text)
    email: Mapped[str] = mapped_column(Text)
    # The tax is an administrator's to set, not the customer's.
    tax_name: Mapped[str] = mapped_column(Text)
    tax_basis_points: Mapped[int] = mapped_column(Integer)
    tax_note: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime] = mapped_column(STAMP)


class Series(Base):
    """The last number that was given. Raised in the transaction that issues, whose rollback gives
    the number back: no gap, and no number twice."""

    __tablename__ = "invoice_series"

    series: Mapped[str] = mapped_column(Text, primary_key=True)
    year: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    last: Mapped[int] = mapped_column(Integer)


class InvoiceRow(Base):
    """An issued document with all that it says; who sold and who bought as they were then."""

    __tablename__ = "invoice"
    __table_args__ = (
        UniqueConstraint("series", "year", "place"),
        CheckConstraint("paper IN ('invoice', 'credit_note', 'receipt')", name="paper"),
        CheckConstraint("gross_cents = net_cents + tax_cents", name="gross"),
        Index("ix_invoice_account_id_id", "account_id", "id"),
        Index(
            "uq_invoice_account_id_month",
            "account_id",
            "month",
            unique=True,
            postgresql_where=text("month IS NOT NULL"),
        ),
    )

    id: Mapped[InvoiceId] = mapped_column(IdColumn(InvoiceId), primary_key=True)
    paper: Mapped[str] = mapped_column(Text)
    series: Mapped[str] = mapped_column(Text)
    year: Mapped[int] = mapped_column(SmallInteger)
    place: Mapped[int] = mapped_column(Integer)
    number: Mapped[str] = mapped_column(Text, unique=True)
    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId))
    month: Mapped[date | None] = mapped_column(Date)  # of a monthly invoice
    period_from: Mapped[datetime | None] = mapped_column(STAMP)
    period_until: Mapped[datetime | None] = mapped_column(STAMP)
    issued_at: Mapped[datetime] = mapped_column(STAMP)
    currency: Mapped[str] = mapped_column(Text)
    net_nano: Mapped[int] = mapped_column(BigInteger)  # what the ledger says
    net_cents: Mapped[int] = mapped_column(BigInteger)
    tax_name: Mapped[str] = mapped_column(Text)
    tax_basis_points: Mapped[int] = mapped_column(Integer)
    tax_cents: Mapped[int] = mapped_column(BigInteger)
    gross_cents: Mapped[int] = mapped_column(BigInteger)
    note: Mapped[str] = mapped_column(Text)
    corrects: Mapped[InvoiceId | None] = mapped_column(
        IdColumn(InvoiceId), ForeignKey("invoice.id"), index=True
    )
    seller: Mapped[dict[str, Any]] = mapped_column(JSONB)
    customer: Mapped[dict[str, Any]] = mapped_column(JSONB)


class InvoiceLineRow(Base):
    """A deferred trigger makes the lines of a document sum to its net amount."""

    __tablename__ = "invoice_line"

    invoice_id: Mapped[InvoiceId] = mapped_column(
        IdColumn(InvoiceId), ForeignKey("invoice.id"), primary_key=True
    )
    place: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    quantity: Mapped[str] = mapped_column(Text)
    from_ns: Mapped[int | None] = mapped_column(BigInteger)
    until_ns: Mapped[int | None] = mapped_column(BigInteger)
    nano: Mapped[int] = mapped_column(BigInteger)
    cents: Mapped[int] = mapped_column(BigInteger)


class MonthDone(Base):
    """This account's month was looked at: it has its invoice, or nothing to stand on one."""

    __tablename__ = "invoice_month"

    month: Mapped[date] = mapped_column(Date, primary_key=True)
    account_id: Mapped[str] = mapped_column(Text, primary_key=True)  # "": all of them
