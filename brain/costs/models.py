"""Tables of costs: what work cost us, how far that is recorded, and what clouds billed. None has a
place for what was said."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Boolean, CheckConstraint, DateTime, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, IdColumn
from kernel.ids import CostId

STAMP = DateTime(timezone=True)


class CostRow(Base):
    """``who`` is a keyed hash of the account: the same one is told, nobody is named.

    ``source``: the lease, machine, volume or booking that costs by the hour; its row of an hour
    grows until the hour is over. Empty: a call that was recorded as it happened.
    """

    __tablename__ = "cost_record"
    __table_args__ = (
        Index("ix_cost_record_created_at", "created_at"),
        Index(
            "uq_cost_record_source",
            "source",
            "created_at",
            "key_id",
            "who",
            unique=True,
            postgresql_where=text("source <> ''"),
        ),
    )

    id: Mapped[CostId] = mapped_column(IdColumn(CostId), primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    provider: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    unit: Mapped[str] = mapped_column(Text)
    units: Mapped[int] = mapped_column(BigInteger)
    cost_nano: Mapped[int] = mapped_column(BigInteger)
    who: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(STAMP)
    subject: Mapped[str] = mapped_column(Text, server_default="")  # deployment, pod or volume
    key_id: Mapped[str] = mapped_column(Text, server_default="")
    source: Mapped[str] = mapped_column(Text, server_default="")


class CostCursor(Base):
    """How far a source is recorded, and how much in all. ``skipped_nano`` was not written down, as
    tracking was off. The row '' is the last whole pass."""

    __tablename__ = "cost_cursor"
    __table_args__ = (Index("ix_cost_cursor_open", "source", postgresql_where=text("NOT done")),)

    source: Mapped[str] = mapped_column(Text, primary_key=True)
    until_ns: Mapped[int] = mapped_column(BigInteger)
    recorded_nano: Mapped[int] = mapped_column(BigInteger)
    skipped_nano: Mapped[int] = mapped_column(BigInteger)
    done: Mapped[bool] = mapped_column(Boolean)


class CloudBillLine(Base):
    """What a cloud billed for a stretch of time: of one machine, or of all of them ("")."""

    __tablename__ = "cloud_bill_line"
    __table_args__ = (
        CheckConstraint("from_at < until_at", name="span"),
        Index("ix_cloud_bill_line_from_at", "cloud", "from_at"),
    )

    cloud: Mapped[str] = mapped_column(Text, primary_key=True)
    statement: Mapped[str] = mapped_column(Text, primary_key=True)  # the vendor's, or a month's
    line: Mapped[str] = mapped_column(Text, primary_key=True)  # unique in its statement
    machine_id: Mapped[str] = mapped_column(Text)
    from_at: Mapped[datetime] = mapped_column(STAMP)
    until_at: Mapped[datetime] = mapped_column(STAMP)
    amount_nano: Mapped[int] = mapped_column(BigInteger)
    taken_from: Mapped[str] = mapped_column(Text)  # "import" or "cloud"
    added_at: Mapped[datetime] = mapped_column(STAMP)
