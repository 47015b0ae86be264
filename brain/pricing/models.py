"""Tables of prices: dated rows that are never changed, so that each charge can be recomputed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Integer, Text
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base


class ServicePriceRow(Base):
    """What a service costs in thousandths of a credit for ``per`` units from ``starts_at`` on."""

    __tablename__ = "service_price"
    __table_args__ = (
        CheckConstraint("per > 0 AND milli_credits >= 0", name="price"),
        CheckConstraint("0 <= vendor_nano_min AND vendor_nano_min <= vendor_nano_max", name="cost"),
    )

    service: Mapped[str] = mapped_column(Text, primary_key=True)
    starts_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    provider: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    unit: Mapped[str] = mapped_column(Text)
    per: Mapped[int] = mapped_column(Integer)
    milli_credits: Mapped[int] = mapped_column(BigInteger)
    vendor_nano_min: Mapped[int] = mapped_column(BigInteger)
    vendor_nano_max: Mapped[int] = mapped_column(BigInteger)
    source: Mapped[str] = mapped_column(Text)


class PackageRow(Base):
    """A range of credits that is sold at once, from ``starts_at`` on; none at 0."""

    __tablename__ = "credit_package"
    __table_args__ = (
        CheckConstraint("0 <= credits_min AND credits_min <= credits_max", name="range"),
    )

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    starts_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    credits_min: Mapped[int] = mapped_column(BigInteger)
    credits_max: Mapped[int] = mapped_column(BigInteger)
