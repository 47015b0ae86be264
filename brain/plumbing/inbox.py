"""Messages from outside, each handled once: the mark and the effect commit together."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import DateTime, Text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing.db import Base, Tx


class Inbox(Base):
    __tablename__ = "inbox"

    source: Mapped[str] = mapped_column(Text, primary_key=True)
    external_id: Mapped[str] = mapped_column(Text, primary_key=True)
    received_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


async def first_time(tx: Tx, source: str, external_id: str, *, at: datetime) -> bool:
    """True for the one transaction that may handle this message.

    A second transaction waits here until the first has ended, and handles it if that failed.
    """
    inserted = await tx.execute(
        insert(Inbox)
        .values(source=source, external_id=external_id, received_at=at)
        .on_conflict_do_nothing()
        .returning(Inbox.external_id)
    )
    return inserted.one_or_none() is not None
