"""Tables of trust: maintenance windows, reliability's events, checks and what they found."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing.db import Base, IdColumn
from brain.plumbing.moves import Stated
from kernel.ids import CheckId, LeaseId, NodeId, WindowId


def _node(*, key: bool = False) -> Mapped[NodeId]:
    return mapped_column(IdColumn(NodeId), ForeignKey("node.node_id"), primary_key=key)


class MaintenanceWindow(Base):
    """``notice_ns`` is what the installation asked for when it was announced."""

    __tablename__ = "maintenance_window"
    __table_args__ = (
        CheckConstraint("until_ns > from_ns", name="some_time"),
        Index("ix_maintenance_window_node_id", "node_id"),
    )

    window_id: Mapped[WindowId] = mapped_column(IdColumn(WindowId), primary_key=True)
    node_id: Mapped[NodeId] = _node()
    reason: Mapped[str] = mapped_column(Text)
    from_ns: Mapped[int] = mapped_column(BigInteger)
    until_ns: Mapped[int] = mapped_column(BigInteger)
    notice_ns: Mapped[int] = mapped_column(BigInteger)
    announced_ns: Mapped[int] = mapped_column(BigInteger)
    cancelled_ns: Mapped[int | None] = mapped_column(BigInteger)


class MaintenanceTold(Base):
    """Which renter's lease was told what of a window, so that each is told once."""

    __tablename__ = "maintenance_told"

    window_id: Mapped[WindowId] = mapped_column(
        IdColumn(WindowId), ForeignKey("maintenance_window.window_id"), primary_key=True
    )
    lease_id: Mapped[LeaseId] = mapped_column(IdColumn(LeaseId), primary_key=True)
    what: Mapped[str] = mapped_column(Text, primary_key=True)  # "announced" or "cancelled"
    told_ns: Mapped[int] = mapped_column(BigInteger)


class NodeOutage(Base):
    """A time in which a node was silent. ``until_ns`` None: it still is."""

    __tablename__ = "node_outage"

    node_id: Mapped[NodeId] = _node(key=True)
    from_ns: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    until_ns: Mapped[int | None] = mapped_column(BigInteger)


class ReliabilityEvent(Base):
    """One thing that counts in a node's score. ``subject`` is the lease, check or window."""

    __tablename__ = "reliability_event"

    node_id: Mapped[NodeId] = _node(key=True)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    subject: Mapped[str] = mapped_column(Text, primary_key=True)
    at_ns: Mapped[int] = mapped_column(BigInteger)
    seconds: Mapped[int] = mapped_column(BigInteger)
    detail: Mapped[str] = mapped_column(Text)


class NodeTrust(Base):
    """A node's last score, and when its GPUs are checked next."""

    __tablename__ = "node_trust"
    __table_args__ = (
        Index("ix_node_trust_scored_ns", "scored_ns"),
        Index("ix_node_trust_due_ns", "due_ns"),
    )

    node_id: Mapped[NodeId] = _node(key=True)
    ppm: Mapped[int] = mapped_column(Integer)
    scored_ns: Mapped[int] = mapped_column(BigInteger)
    due_ns: Mapped[int] = mapped_column(BigInteger)


class PreflightReport(Base):
    """What the agent told of its machine; a new row whenever it tells something else."""

    __tablename__ = "preflight_report"

    node_id: Mapped[NodeId] = _node(key=True)
    at_ns: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    points: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    fatal: Mapped[str] = mapped_column(Text)  # why it is not to be listed; "" = it may be


class CheckMode(Base):
    __tablename__ = "check_mode"

    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    mode: Mapped[str] = mapped_column(Text)
    since_ns: Mapped[int] = mapped_column(BigInteger)
    changed_by: Mapped[str] = mapped_column(Text)


class WorkCheck(Stated, Base):
    """One seeded check of one GPU. ``state`` is the brain's; ``told`` is the agent's last word,
    and each ``*_ns`` is the brain's clock."""

    __tablename__ = "work_check"
    __table_args__ = (
        Index("ix_work_check_state", "state", "asked_ns"),
        Index("ix_work_check_node_id", "node_id", "asked_ns"),
    )

    check_id: Mapped[CheckId] = mapped_column(IdColumn(CheckId), primary_key=True)
    group_id: Mapped[str] = mapped_column(Text)  # checks that run at the same time
    node_id: Mapped[NodeId] = _node()
    gpu_uuid: Mapped[str] = mapped_column(Text)
    gpu_name: Mapped[str] = mapped_column(Text)
    host_boot_id: Mapped[str] = mapped_column(Text)
    ordered: Mapped[bytes] = mapped_column(LargeBinary)  # wire.agent.CheckOrder as JSON
    sample: Mapped[bytes | None] = mapped_column(LargeBinary)  # wire.agent.CheckSample as JSON
    told: Mapped[bytes | None] = mapped_column(LargeBinary)  # wire.agent.CheckTold as JSON
    recall_key: Mapped[str] = mapped_column(Text)  # "" until everyone of the group committed
    asked_ns: Mapped[int] = mapped_column(BigInteger)
    deadline_ns: Mapped[int] = mapped_column(BigInteger)
    handed_ns: Mapped[int | None] = mapped_column(BigInteger)
    committed_ns: Mapped[int | None] = mapped_column(BigInteger)
    recall_ns: Mapped[int | None] = mapped_column(BigInteger)  # when the recall was handed over
    recalled_ns: Mapped[int | None] = mapped_column(BigInteger)
    opened_ns: Mapped[int | None] = mapped_column(BigInteger)
    refused_ns: Mapped[int | None] = mapped_column(BigInteger)
    contradicted_ns: Mapped[int | None] = mapped_column(BigInteger)  # told work on a leased GPU


class CheckFinding(Base):
    """What one check found of one kind. ``mode`` is the kind's at that time."""

    __tablename__ = "check_finding"
    __table_args__ = (Index("ix_check_finding_node_id", "node_id", "at_ns"),)

    check_id: Mapped[CheckId] = mapped_column(IdColumn(CheckId), primary_key=True)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    node_id: Mapped[NodeId] = _node()
    gpu_uuid: Mapped[str] = mapped_column(Text)
    host_boot_id: Mapped[str] = mapped_column(Text)
    passed: Mapped[bool] = mapped_column(Boolean)
    mode: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    at_ns: Mapped[int] = mapped_column(BigInteger)
