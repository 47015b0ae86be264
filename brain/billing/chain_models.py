"""Tables of the chain over the journal and of its proofs: links, seals, what leans, alarms."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, DateTime, Index, Integer, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, IdColumn
from kernel.ids import TxId

STAMP = DateTime(timezone=True)


class JournalBatch(Base):
    """Transactions that were posted in one call, as a link of its session's chain: ``hash`` covers
    them, their entries and ``previous``. Immutable but for ``seal``, which is set once."""

    __tablename__ = "journal_batch"
    __table_args__ = (
        UniqueConstraint("chain", "number"),
        Index("ix_journal_batch_unsealed", "id", postgresql_where=text("seal IS NULL")),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    chain: Mapped[str] = mapped_column(Text)
    number: Mapped[int] = mapped_column(BigInteger)
    previous: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(Text)
    txs: Mapped[int] = mapped_column(Integer)
    at: Mapped[datetime] = mapped_column(STAMP)
    seal: Mapped[int | None] = mapped_column(BigInteger)


class JournalSeal(Base):
    """One hash over every batch since the seal before it, and over that seal. Immutable."""

    __tablename__ = "journal_seal"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    previous: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(Text)
    batches: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(STAMP)


class JournalOpen(Base):
    """A transaction that a statement left unbalanced: its sums are looked at when it commits."""

    __tablename__ = "journal_open"

    tx_id: Mapped[TxId] = mapped_column(IdColumn(TxId), primary_key=True)


class ProofState(Base):
    """What a proof last gave, and since when it is broken: the alarm's own row."""

    __tablename__ = "proof_state"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    law: Mapped[str] = mapped_column(Text)
    count: Mapped[int] = mapped_column(BigInteger)
    broken: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(STAMP)
    broken_since: Mapped[datetime | None] = mapped_column(STAMP)
