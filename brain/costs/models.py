"""The table of costs. It has no place for what was said: only for what it cost."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, IdColumn
from kernel.ids import CostId


class CostRow(Base):
    """``who`` is a keyed hash of the account: the same one is told, nobody is named."""

    __tablename__ = "cost_record"
    __table_args__ = (Index("ix_cost_record_created_at", "created_at"),)

    id: Mapped[CostId] = mapped_column(IdColumn(CostId), primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    provider: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    unit: Mapped[str] = mapped_column(Text)
    units: Mapped[int] = mapped_column(BigInteger)
    cost_nano: Mapped[int] = mapped_column(BigInteger)
    who: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
