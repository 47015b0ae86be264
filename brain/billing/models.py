"""Tables of money and metered time. What may be written to them is in ``store``.

Ledger accounts are text: an account's id for its spendable balance, ``<account>:pending`` for a
provider's earnings, ``platform:...`` for our own lines, ``<lease>:...`` for a lease's GPU time.
Meter times are nanoseconds of brain wall time; segment times were mapped when they arrived.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Numeric,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from brain.billing.chain_models import JournalBatch, JournalOpen, JournalSeal, ProofState
from brain.plumbing import Base, IdColumn
from kernel.ids import AccountId, DeploymentId, HoldId, LeaseId, ReplicaId, TxId, VolumeId

# Tables beside these, named here so that whoever imports this module knows them all.
BESIDE = (JournalBatch, JournalOpen, JournalSeal, ProofState)

# Sums of GPU-ns over a platform, and anything in 2**-20 GPU-ns, outgrow a bigint.
WIDE = Numeric(40, 0)
STAMP = DateTime(timezone=True)


class JournalTx(Base):
    """One balanced transaction. Immutable; the key makes a repeat return the first."""

    __tablename__ = "journal_tx"
    __table_args__ = (
        Index("ix_journal_tx_purchase", "id", postgresql_where=text("kind = 'purchase'")),
    )

    id: Mapped[TxId] = mapped_column(IdColumn(TxId), primary_key=True)
    idempotency_key: Mapped[str] = mapped_column(Text, unique=True)
    input_hash: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    memo: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(STAMP)
    batch: Mapped[int | None] = mapped_column(BigInteger)


class JournalEntry(Base):
    """One line. Triggers see that its transaction is there, and that each transaction sums to
    zero per asset: at once, or else at the commit."""

    __tablename__ = "journal_entry"
    __table_args__ = (
        CheckConstraint("asset IN ('USD', 'GPUNS')", name="asset"),
        Index("ix_journal_entry_account", "ledger_account", "tx_id"),
    )

    tx_id: Mapped[TxId] = mapped_column(IdColumn(TxId), primary_key=True)
    line: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    ledger_account: Mapped[str] = mapped_column(Text)
    asset: Mapped[str] = mapped_column(Text)
    amount: Mapped[int] = mapped_column(BigInteger)


class Balance(Base):
    """A cache of the journal, and what is held of it; proven by ``prove``."""

    __tablename__ = "balance"
    __table_args__ = (
        CheckConstraint("held >= 0", name="held"),
        CheckConstraint("carry >= 0 AND carry < 3774873600000000000", name="carry"),
        {"postgresql_with": {"fillfactor": "70"}},
    )

    ledger_account: Mapped[str] = mapped_column(Text, primary_key=True)
    asset: Mapped[str] = mapped_column(Text, primary_key=True)
    posted: Mapped[Decimal] = mapped_column(WIDE)
    held: Mapped[int] = mapped_column(BigInteger)
    carry: Mapped[int] = mapped_column(BigInteger)


class Hold(Base):
    """Money set aside. ``amount = captured + released + open``, at all times."""

    __tablename__ = "hold"
    __table_args__ = (
        CheckConstraint(
            "captured >= 0 AND released >= 0 AND captured + released <= amount", name="parts"
        ),
        CheckConstraint("state = 'open' OR captured + released = amount", name="closed"),
        CheckConstraint("purpose IN ('slice', 'lease')", name="purpose"),
        Index("ix_hold_open", "deadline_ns", postgresql_where=text("state = 'open'")),
        Index("ix_hold_boot", "boot_id", postgresql_where=text("state = 'open'")),
    )

    id: Mapped[HoldId] = mapped_column(IdColumn(HoldId), primary_key=True)
    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId), index=True)
    purpose: Mapped[str] = mapped_column(Text)
    amount: Mapped[int] = mapped_column(BigInteger)
    captured: Mapped[int] = mapped_column(BigInteger)
    released: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(Text)
    opened_ns: Mapped[int] = mapped_column(BigInteger)
    deadline_ns: Mapped[int] = mapped_column(BigInteger)
    returned_ns: Mapped[int | None] = mapped_column(BigInteger)
    boot_id: Mapped[str | None] = mapped_column(Text)
    lease_id: Mapped[str | None] = mapped_column(Text)


class AccountStanding(Base):
    """Whether an account is stopped for want of credit, and why. Its last stop is kept when that
    is lifted, as its owner is still to be told."""

    __tablename__ = "account_standing"

    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId), primary_key=True)
    stopped: Mapped[bool] = mapped_column(Boolean)
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(STAMP)
    stop_at: Mapped[datetime | None] = mapped_column(STAMP)
    stop_reason: Mapped[str] = mapped_column(Text, server_default="")


class Rate(Base):
    """Dated figures that prices need: the newest row that has begun counts."""

    __tablename__ = "rate"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    starts_at: Mapped[datetime] = mapped_column(STAMP, primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)
    unit: Mapped[str] = mapped_column(Text)


class GatewayBoot(Base):
    """One start of a gateway: its offset to brain time, and how far it has reported."""

    __tablename__ = "gateway_boot"

    boot_id: Mapped[str] = mapped_column(Text, primary_key=True)
    gateway: Mapped[str] = mapped_column(Text)
    offset_ns: Mapped[int] = mapped_column(BigInteger)
    hello_ns: Mapped[int] = mapped_column(BigInteger)
    seen_ns: Mapped[int] = mapped_column(BigInteger)
    stated_ns: Mapped[int] = mapped_column(BigInteger)
    closed: Mapped[bool] = mapped_column(Boolean)


class Watermark(Base):
    """What a gateway boot said of a replica in the statement of ``stated_ns``."""

    __tablename__ = "watermark"

    boot_id: Mapped[str] = mapped_column(Text, primary_key=True)
    replica_id: Mapped[str] = mapped_column(Text, primary_key=True, index=True)
    until_ns: Mapped[int] = mapped_column(BigInteger)
    stated_ns: Mapped[int] = mapped_column(BigInteger)
    in_flight: Mapped[int] = mapped_column(Integer)
    draining: Mapped[bool] = mapped_column(Boolean)


class Receiving(Base):
    """One row: when the brain was last able to receive and write."""

    __tablename__ = "receiving"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    last_ns: Mapped[int] = mapped_column(BigInteger)


class ReceivingGap(Base):
    """A stretch in which the brain or its database was away; it is counted against nobody."""

    __tablename__ = "receiving_gap"

    from_ns: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    until_ns: Mapped[int] = mapped_column(BigInteger)


class UsageSegment(Base):
    """A piece of a request's residence, counted once by its key.

    ``[open_ns, end_ns)`` is what no posted window has seen; ``folded`` once nothing is left.
    """

    __tablename__ = "usage_segment"
    __table_args__ = (
        Index("ix_usage_segment_lease", "lease_id", "end_ns"),
        Index("ix_usage_segment_account", "account_id", "request_id"),
        {"postgresql_partition_by": "RANGE (day)"},
    )

    day: Mapped[date] = mapped_column(Date, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    boot_id: Mapped[str] = mapped_column(Text)
    request_id: Mapped[str] = mapped_column(Text)
    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId))
    key_id: Mapped[str] = mapped_column(Text)
    deployment_id: Mapped[DeploymentId] = mapped_column(IdColumn(DeploymentId))
    replica_id: Mapped[ReplicaId] = mapped_column(IdColumn(ReplicaId))
    lease_id: Mapped[LeaseId] = mapped_column(IdColumn(LeaseId))
    attempt: Mapped[int] = mapped_column(Integer)
    number: Mapped[int] = mapped_column(Integer)
    start_ns: Mapped[int] = mapped_column(BigInteger)
    end_ns: Mapped[int] = mapped_column(BigInteger)
    weight: Mapped[int] = mapped_column(Integer)
    ending: Mapped[str] = mapped_column(Text)
    status: Mapped[int] = mapped_column(Integer)
    model: Mapped[str] = mapped_column(Text)
    route: Mapped[str] = mapped_column(Text)
    prompt_tokens: Mapped[int] = mapped_column(BigInteger)
    completion_tokens: Mapped[int] = mapped_column(BigInteger)
    tokens_estimated: Mapped[bool] = mapped_column(Boolean)
    slice_id: Mapped[str | None] = mapped_column(Text)
    received_ns: Mapped[int] = mapped_column(BigInteger)
    open_ns: Mapped[int] = mapped_column(BigInteger)
    settled_ticks: Mapped[Decimal] = mapped_column(WIDE)
    late_until_ns: Mapped[int | None] = mapped_column(BigInteger)
    late_ticks: Mapped[Decimal] = mapped_column(WIDE)
    outside_ns: Mapped[int] = mapped_column(BigInteger)
    waived_units: Mapped[Decimal] = mapped_column(Numeric(60, 0))
    waived_to: Mapped[str | None] = mapped_column(Text)
    folded: Mapped[bool] = mapped_column(Boolean)


class UsageWaiting(Base):
    """One for each segment that is not folded: what settlement finds its work by."""

    __tablename__ = "usage_waiting"
    __table_args__ = (
        Index("ix_usage_waiting_slice", "slice_id", postgresql_where=text("slice_id IS NOT NULL")),
    )

    lease_id: Mapped[LeaseId] = mapped_column(IdColumn(LeaseId), primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    slice_id: Mapped[str | None] = mapped_column(Text)


class UsageDropped(Base):
    """What the usage of days that are kept no longer gave each lease."""

    __tablename__ = "usage_dropped"

    lease_id: Mapped[LeaseId] = mapped_column(IdColumn(LeaseId), primary_key=True)
    ticks: Mapped[Decimal] = mapped_column(WIDE)
    segments: Mapped[int] = mapped_column(BigInteger)


class ParkedSegment(Base):
    """A segment that cannot be counted, kept whole with the reason."""

    __tablename__ = "parked_segment"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    reason: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    at: Mapped[datetime] = mapped_column(STAMP)


class MeterLease(Base):
    """A lease as the meter sees it: terms, phase marks, last evidence, and what was billed."""

    __tablename__ = "meter_lease"
    __table_args__ = (
        CheckConstraint("mode IN ('dedicated', 'pool', 'pod')", name="mode"),
        Index("ix_meter_lease_live", "settled_ns", postgresql_where=text("NOT finished")),
        Index(
            "ix_meter_lease_unwitnessed",
            "closed_ns",
            postgresql_where=text("finished AND witnessed_ns IS NULL AND provider IS NOT NULL"),
        ),
    )

    lease_id: Mapped[LeaseId] = mapped_column(IdColumn(LeaseId), primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger)
    payer: Mapped[AccountId] = mapped_column(IdColumn(AccountId), index=True)
    provider: Mapped[AccountId | None] = mapped_column(IdColumn(AccountId), index=True)
    gpus: Mapped[int] = mapped_column(Integer)
    mode: Mapped[str] = mapped_column(Text)
    renter_rate_nano: Mapped[int] = mapped_column(BigInteger)
    provider_rate_nano: Mapped[int] = mapped_column(BigInteger)
    pool_rate_nano: Mapped[int] = mapped_column(BigInteger)
    ceiling_prompt_nano: Mapped[int] = mapped_column(BigInteger)
    ceiling_completion_nano: Mapped[int] = mapped_column(BigInteger)
    fee_basis_points: Mapped[int] = mapped_column(Integer)
    deployment_id: Mapped[DeploymentId] = mapped_column(IdColumn(DeploymentId), index=True)
    replica_id: Mapped[ReplicaId] = mapped_column(IdColumn(ReplicaId), index=True)
    opened_ns: Mapped[int] = mapped_column(BigInteger)
    loading_ns: Mapped[int | None] = mapped_column(BigInteger)
    ready_ns: Mapped[int | None] = mapped_column(BigInteger)
    draining_ns: Mapped[int | None] = mapped_column(BigInteger)
    evidence_ns: Mapped[int] = mapped_column(BigInteger)
    closed_ns: Mapped[int | None] = mapped_column(BigInteger)
    outcome: Mapped[str | None] = mapped_column(Text)
    settled_ns: Mapped[int] = mapped_column(BigInteger)
    busy_ready_ns: Mapped[Decimal] = mapped_column(WIDE)
    busy_drain_ns: Mapped[Decimal] = mapped_column(WIDE)
    rounding_ns: Mapped[Decimal] = mapped_column(WIDE)
    late_ns: Mapped[Decimal] = mapped_column(WIDE)
    billed_ns: Mapped[int | None] = mapped_column(BigInteger)
    billed_nano: Mapped[int] = mapped_column(BigInteger)
    earned_nano: Mapped[int] = mapped_column(BigInteger)
    hold_id: Mapped[HoldId | None] = mapped_column(IdColumn(HoldId))
    finished: Mapped[bool] = mapped_column(Boolean)
    # When the final bill was compared with what the node signed.
    witnessed_ns: Mapped[int | None] = mapped_column(BigInteger)


class MeterWindow(Base):
    """A posted window of a lease: unique, never opened again. Only busy windows have a row."""

    __tablename__ = "meter_window"

    lease_id: Mapped[LeaseId] = mapped_column(
        IdColumn(LeaseId), ForeignKey("meter_lease.lease_id"), primary_key=True
    )
    start_ns: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    end_ns: Mapped[int] = mapped_column(BigInteger)
    busy_ns: Mapped[int] = mapped_column(BigInteger)
    shared_ticks: Mapped[Decimal] = mapped_column(WIDE)
    posted_ns: Mapped[int] = mapped_column(BigInteger)
    rounding_ns: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(STAMP)


class StorageBill(Base):
    """A stretch of a volume's time that was billed. ``payer`` None: in the grace time, to us."""

    __tablename__ = "storage_bill"
    __table_args__ = (Index("ix_storage_bill_provider", "provider", "until_ns"),)

    volume_id: Mapped[VolumeId] = mapped_column(IdColumn(VolumeId), primary_key=True)
    from_ns: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    until_ns: Mapped[int] = mapped_column(BigInteger)
    seen_ns: Mapped[int] = mapped_column(BigInteger)
    gib: Mapped[int] = mapped_column(Integer)
    price_nano: Mapped[int] = mapped_column(BigInteger)
    payer: Mapped[AccountId | None] = mapped_column(IdColumn(AccountId))
    provider: Mapped[AccountId | None] = mapped_column(IdColumn(AccountId))
    charge_nano: Mapped[int] = mapped_column(BigInteger)
    earned_nano: Mapped[int] = mapped_column(BigInteger)


class LeaseBill(Base):
    """A stretch of a lease's time that was billed: what the payer owed, what the provider got."""

    __tablename__ = "lease_bill"

    lease_id: Mapped[LeaseId] = mapped_column(
        IdColumn(LeaseId), ForeignKey("meter_lease.lease_id"), primary_key=True
    )
    from_ns: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    until_ns: Mapped[int] = mapped_column(BigInteger)
    charge_nano: Mapped[int] = mapped_column(BigInteger)
    earned_nano: Mapped[int] = mapped_column(BigInteger)


class LeaseCredit(Base):
    """What of a lease's bill went back, because its node did not sign for so much time. At most
    one a lease; the bill itself stays as it was posted."""

    __tablename__ = "lease_credit"

    lease_id: Mapped[LeaseId] = mapped_column(
        IdColumn(LeaseId), ForeignKey("meter_lease.lease_id"), primary_key=True
    )
    gpu_ns: Mapped[int] = mapped_column(BigInteger)
    credit_nano: Mapped[int] = mapped_column(BigInteger)
    taken_back_nano: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(Text)
    at_ns: Mapped[int] = mapped_column(BigInteger)
