"""Tables of warnings: on which side of its line an account was last seen."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, DateTime, Text
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, IdColumn
from kernel.ids import AccountId


class Alert(Base):
    """``threshold_nano`` None: the installation's own. ``below``: a warning was sent, and none
    follows until the balance has risen again. ``stop_told_at``: the stop that its owner knows of."""

    __tablename__ = "spending_alert"

    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId), primary_key=True)
    threshold_nano: Mapped[int | None] = mapped_column(BigInteger)
    email: Mapped[str] = mapped_column(Text)  # "": the account's users
    below: Mapped[bool] = mapped_column(Boolean)
    stop_told_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
