"""Tables of the witness: signed minutes, each lease's chain, disputes."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, IdColumn
from kernel.ids import AccountId, DisputeId, LeaseId, NodeId


class LeaseMinute(Base):
    """One record as it was signed. Times are of the node's boot clock."""

    __tablename__ = "lease_minute"

    lease_id: Mapped[LeaseId] = mapped_column(IdColumn(LeaseId), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(BigInteger)
    start_ns: Mapped[int] = mapped_column(BigInteger)
    end_ns: Mapped[int] = mapped_column(BigInteger)
    container_ns: Mapped[int] = mapped_column(BigInteger)
    gpu_ns: Mapped[int] = mapped_column(BigInteger)
    previous: Mapped[str] = mapped_column(Text)
    hash: Mapped[str] = mapped_column(Text)
    signature: Mapped[str] = mapped_column(Text)
    received_ns: Mapped[int] = mapped_column(BigInteger)


class LeaseWitness(Base):
    """The end of a lease's chain. ``broken``: why no more is taken; "" = it is whole."""

    __tablename__ = "lease_witness"
    lease_id: Mapped[LeaseId] = mapped_column(IdColumn(LeaseId), primary_key=True)
    node_id: Mapped[NodeId] = mapped_column(IdColumn(NodeId))
    gpus: Mapped[int] = mapped_column(BigInteger)
    number: Mapped[int] = mapped_column(BigInteger)
    head: Mapped[str] = mapped_column(Text)
    end_ns: Mapped[int] = mapped_column(BigInteger)
    container_ns: Mapped[int] = mapped_column(BigInteger)
    gpu_ns: Mapped[int] = mapped_column(BigInteger)
    broken: Mapped[str] = mapped_column(Text)
    judged_ns: Mapped[int | None] = mapped_column(BigInteger)


class Dispute(Base):
    """We and the node disagree about a lease. ``credit_nano`` went back to the payer."""

    __tablename__ = "dispute"
    __table_args__ = (
        Index("uq_dispute_lease_id", "lease_id", unique=True),
        Index("ix_dispute_payer", "payer", "dispute_id"),
        Index("ix_dispute_provider", "provider", "dispute_id"),
    )

    dispute_id: Mapped[DisputeId] = mapped_column(IdColumn(DisputeId), primary_key=True)
    lease_id: Mapped[LeaseId] = mapped_column(IdColumn(LeaseId))
    payer: Mapped[AccountId] = mapped_column(IdColumn(AccountId))
    provider: Mapped[AccountId] = mapped_column(IdColumn(AccountId))
    kind: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    billed_gpu_ns: Mapped[int] = mapped_column(BigInteger)
    signed_gpu_ns: Mapped[int] = mapped_column(BigInteger)
    credit_nano: Mapped[int] = mapped_column(BigInteger)
    at_ns: Mapped[int] = mapped_column(BigInteger)
