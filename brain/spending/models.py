"""Tables of spending: warnings, and the limits of API keys."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Date, DateTime, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, IdColumn
from kernel.ids import AccountId, KeyId


class Alert(Base):
    """``threshold_nano`` None: the installation's own. ``below``: a warning was sent, and none
    follows until the balance has risen again. ``stop_told_at``: the stop that is told."""

    __tablename__ = "spending_alert"

    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId), primary_key=True)
    threshold_nano: Mapped[int | None] = mapped_column(BigInteger)
    email: Mapped[str] = mapped_column(Text)  # "": the account's users
    below: Mapped[bool] = mapped_column(Boolean)
    stop_told_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class KeyLimit(Base):
    """The most that one API key may use in each day or month; ``reached`` tells gateways."""

    __tablename__ = "key_limit"
    __table_args__ = (
        CheckConstraint("span IN ('day', 'month')", name="span"),
        CheckConstraint("limit_nano >= 0", name="limit"),
        Index("ix_key_limit_reached", "key_id", postgresql_where=text("reached")),
    )

    key_id: Mapped[KeyId] = mapped_column(IdColumn(KeyId), primary_key=True)
    span: Mapped[str] = mapped_column(Text, primary_key=True)
    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId))
    limit_nano: Mapped[int] = mapped_column(BigInteger)
    spent_nano: Mapped[int] = mapped_column(BigInteger)  # when last looked at
    reached: Mapped[bool] = mapped_column(Boolean)


class KeyDay(Base):
    """What a key used on a day that is over and settled."""

    __tablename__ = "key_day"

    key_id: Mapped[KeyId] = mapped_column(IdColumn(KeyId), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    nano: Mapped[int] = mapped_column(BigInteger)
