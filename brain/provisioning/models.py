"""Tables of provisioning: intents, cloud accounts, unknown machines, sweeps, alerts."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, ForeignKey, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, IdColumn, Stated, Work
from kernel.ids import DeploymentId, IntentId, LeaseId, NodeId, ReplicaId


class Intent(Stated, Work, Base):
    """Our wish for one rented machine, committed before its cloud is called.

    Prices are frozen here. ``tag`` is of the newest order (``attempt``) and is written down
    before that order is sent. ``*_ns`` are when each stage began.
    """

    __tablename__ = "provision_intent"
    __table_args__ = (
        Index("ix_provision_intent_cloud_state", "cloud", "state"),
        Index("ix_provision_intent_machine", "cloud", "machine_id"),
        CheckConstraint("price_nano >= 0 AND cost_nano_hour >= 0", name="no_negative_price"),
    )

    intent_id: Mapped[IntentId] = mapped_column(IdColumn(IntentId), primary_key=True)
    replica_id: Mapped[ReplicaId] = mapped_column(IdColumn(ReplicaId), unique=True)
    deployment_id: Mapped[DeploymentId] = mapped_column(IdColumn(DeploymentId))
    lease_id: Mapped[LeaseId] = mapped_column(
        IdColumn(LeaseId), ForeignKey("lease.lease_id"), unique=True
    )
    node_id: Mapped[NodeId] = mapped_column(
        IdColumn(NodeId), ForeignKey("node.node_id"), unique=True
    )
    cloud: Mapped[str] = mapped_column(Text)
    offer: Mapped[dict[str, object]] = mapped_column(JSONB)  # as it was chosen
    disk_gib: Mapped[int] = mapped_column(Integer)
    model: Mapped[str] = mapped_column(Text)
    price_nano: Mapped[int] = mapped_column(BigInteger)  # the renter's, of a GPU-hour
    cost_nano_hour: Mapped[int] = mapped_column(BigInteger)  # the cloud's, of the machine
    ttl_seconds: Mapped[int] = mapped_column(Integer)
    # A renter's own image, run by the cloud with no agent of ours: opened by these keys, reached
    # at these addresses of the cloud's own (as in ``clouds.Endpoint``).
    agentless: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    ssh_keys: Mapped[list[str]] = mapped_column(JSONB, server_default=text("'[]'"))
    endpoints: Mapped[list[dict[str, object]]] = mapped_column(JSONB, server_default=text("'[]'"))
    endpoints_ns: Mapped[int | None] = mapped_column(BigInteger)  # when they were last asked for
    # Since when the cloud lists it and does not say that it runs.
    unwell_ns: Mapped[int | None] = mapped_column(BigInteger)
    attempt: Mapped[int] = mapped_column(Integer)  # orders sent
    tag: Mapped[str | None] = mapped_column(Text, unique=True)
    machine_id: Mapped[str | None] = mapped_column(Text)
    wanted: Mapped[bool] = mapped_column(Boolean)  # False: given up, whatever the cloud does
    seen_state: Mapped[str] = mapped_column(Text)  # what the cloud last said of it
    seen_said: Mapped[str] = mapped_column(Text)
    seen_ns: Mapped[int | None] = mapped_column(BigInteger)  # when the cloud last knew it
    missing_ns: Mapped[int | None] = mapped_column(BigInteger)  # since when it is not
    missing_count: Mapped[int] = mapped_column(Integer)
    failures: Mapped[int] = mapped_column(Integer)  # in a row, of calls for it
    last_error: Mapped[str] = mapped_column(Text)
    planned_ns: Mapped[int] = mapped_column(BigInteger)
    ordered_ns: Mapped[int | None] = mapped_column(BigInteger)
    made_ns: Mapped[int | None] = mapped_column(BigInteger)
    boot_by_ns: Mapped[int | None] = mapped_column(BigInteger)
    enrolled_ns: Mapped[int | None] = mapped_column(BigInteger)
    serving_ns: Mapped[int | None] = mapped_column(BigInteger)
    ending_ns: Mapped[int | None] = mapped_column(BigInteger)
    ended_ns: Mapped[int | None] = mapped_column(BigInteger)


class CloudAccount(Stated, Base):
    """One account at one cloud. The freeze has columns of its own, which no state clears."""

    __tablename__ = "cloud_account"

    cloud: Mapped[str] = mapped_column(Text, primary_key=True)
    frozen_ns: Mapped[int | None] = mapped_column(BigInteger)  # destruction waits for a person
    frozen_reason: Mapped[str] = mapped_column(Text)
    allowed_unknown: Mapped[list[str]] = mapped_column(JSONB)  # a person looked at these
    database_mark: Mapped[str] = mapped_column(Text)  # which database destruction is allowed from
    listed_ns: Mapped[int | None] = mapped_column(BigInteger)  # the last complete listing


class UnknownMachine(Stated, Base):
    """A machine with a tag of this installation that no intent owns."""

    __tablename__ = "unknown_machine"
    __table_args__ = (
        Index("ix_unknown_machine_live", "cloud", postgresql_where=text("state <> 'gone'")),
    )

    unknown_id: Mapped[str] = mapped_column(Text, primary_key=True)  # cloud and machine
    cloud: Mapped[str] = mapped_column(Text)
    machine_id: Mapped[str] = mapped_column(Text)
    tag: Mapped[str] = mapped_column(Text)
    why: Mapped[str] = mapped_column(Text)
    cost_nano_hour: Mapped[int] = mapped_column(BigInteger)
    first_ns: Mapped[int] = mapped_column(BigInteger)
    last_ns: Mapped[int] = mapped_column(BigInteger)
    asked_ns: Mapped[int | None] = mapped_column(BigInteger)  # when its end was last asked for
    ended_ns: Mapped[int | None] = mapped_column(BigInteger)
    last_error: Mapped[str] = mapped_column(Text)


class CloudSweep(Base):
    """What one look at a whole account found and did."""

    __tablename__ = "cloud_sweep"

    cloud: Mapped[str] = mapped_column(Text, primary_key=True)
    began_ns: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    ended_ns: Mapped[int] = mapped_column(BigInteger)
    complete: Mapped[bool] = mapped_column(Boolean)
    why: Mapped[str] = mapped_column(Text)  # it was not complete, or destroyed nothing
    machines: Mapped[int] = mapped_column(Integer)
    ours: Mapped[int] = mapped_column(Integer)
    unknown: Mapped[int] = mapped_column(Integer)
    destroyed: Mapped[int] = mapped_column(Integer)


class CloudAlert(Base):
    """What a person should know, for as long as it is so."""

    __tablename__ = "cloud_alert"

    subject: Mapped[str] = mapped_column(Text, primary_key=True)  # such as "account runpod"
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    cloud: Mapped[str] = mapped_column(Text)
    said: Mapped[str] = mapped_column(Text)
    since_ns: Mapped[int] = mapped_column(BigInteger)
    last_ns: Mapped[int] = mapped_column(BigInteger)
    closed_ns: Mapped[int | None] = mapped_column(BigInteger)
