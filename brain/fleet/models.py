"""Tables of the fleet: nodes' counters and beats, GPUs, leases, agent sessions, reception."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing.db import Base, IdColumn
from brain.plumbing.moves import Stated
from kernel.ids import DeploymentId, LeaseId, NodeId, ReplicaId


class FleetNode(Base):
    """Changes seldom. ``generation`` and ``epoch`` only rise, in the transaction of the change.

    ``xid`` is the last changing transaction's, so that readers of "what changed since" miss no
    late commit (as in ``plumbing.changes``). ``withheld`` says why the node may not be sold.
    """

    __tablename__ = "fleet_node"
    __table_args__ = (Index("ix_fleet_node_xid", "xid"),)

    node_id: Mapped[NodeId] = mapped_column(
        IdColumn(NodeId), ForeignKey("node.node_id"), primary_key=True
    )
    generation: Mapped[int] = mapped_column(BigInteger)
    epoch: Mapped[int] = mapped_column(BigInteger)
    xid: Mapped[int] = mapped_column(BigInteger)
    host_boot_id: Mapped[str] = mapped_column(Text)
    agent_start_id: Mapped[str] = mapped_column(Text)
    agent_version: Mapped[str] = mapped_column(Text)
    engine: Mapped[str] = mapped_column(Text)
    nvml: Mapped[str] = mapped_column(Text)
    quarantined: Mapped[str] = mapped_column(Text)  # why; "" = it is not
    silent_since_ns: Mapped[int | None] = mapped_column(BigInteger)


class NodeBeat(Base):
    """Changes every second, in one statement for all nodes: narrow, and with no other index."""

    __tablename__ = "node_beat"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    node_id: Mapped[NodeId] = mapped_column(IdColumn(NodeId), primary_key=True)
    agent_start_id: Mapped[str] = mapped_column(Text)
    seq: Mapped[int] = mapped_column(BigInteger)
    last_seen_ns: Mapped[int] = mapped_column(BigInteger)
    generation_applied: Mapped[int] = mapped_column(BigInteger)


class NodeGpu(Base):
    """A node's GPUs as its agent names them. Free ones are found by query, never counted."""

    __tablename__ = "node_gpu"
    __table_args__ = (Index("ix_node_gpu_gpu_uuid", "gpu_uuid"),)

    node_id: Mapped[NodeId] = mapped_column(
        IdColumn(NodeId), ForeignKey("node.node_id"), primary_key=True
    )
    gpu_uuid: Mapped[str] = mapped_column(Text, primary_key=True)
    position: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(Text)
    memory_mib: Mapped[int] = mapped_column(BigInteger)
    simulated: Mapped[bool] = mapped_column(Boolean)
    lost: Mapped[bool] = mapped_column(Boolean)
    foreign_use: Mapped[bool] = mapped_column(Boolean)  # measured: others use it, so it is not sold
    unhealthy: Mapped[str] = mapped_column(Text)  # why it is not sold, by its driver; "" = it is


class NodeStanding(Base):
    """What the rooms above found about a node; no row: nothing. Looked at by every claim.

    ``withheld`` says why it is not sold. Between ``closed_from_ns`` and ``closed_until_ns``
    (announced maintenance) nothing new is placed there.
    """

    __tablename__ = "node_standing"

    node_id: Mapped[NodeId] = mapped_column(
        IdColumn(NodeId), ForeignKey("node.node_id"), primary_key=True
    )
    withheld: Mapped[str] = mapped_column(Text)
    reliability_ppm: Mapped[int] = mapped_column(Integer)
    closed_from_ns: Mapped[int | None] = mapped_column(BigInteger)
    closed_until_ns: Mapped[int | None] = mapped_column(BigInteger)


class Lease(Stated, Base):
    """``state`` is what is asked (owner: the brain); ``seen_*`` is what the agent reports."""

    __tablename__ = "lease"
    __table_args__ = (
        Index("ix_lease_replica_id", "replica_id"),
        Index("ix_lease_node_live", "node_id", postgresql_where=text("state <> 'closed'")),
        CheckConstraint("gpu_count > 0", name="some_gpus"),
        CheckConstraint("epoch > 0", name="epoch_from_one"),
        Index("uq_lease_node_epoch", "node_id", "epoch", unique=True),
    )

    lease_id: Mapped[LeaseId] = mapped_column(IdColumn(LeaseId), primary_key=True)
    node_id: Mapped[NodeId] = mapped_column(IdColumn(NodeId), ForeignKey("node.node_id"))
    epoch: Mapped[int] = mapped_column(BigInteger)
    generation: Mapped[int] = mapped_column(BigInteger)  # of the desired set it entered
    replica_id: Mapped[ReplicaId] = mapped_column(IdColumn(ReplicaId))
    deployment_id: Mapped[DeploymentId] = mapped_column(IdColumn(DeploymentId))
    gpu_count: Mapped[int] = mapped_column(Integer)
    launch: Mapped[bytes] = mapped_column(LargeBinary)  # wire.agent.LaunchSpec as JSON
    ttl_seconds: Mapped[int] = mapped_column(Integer)
    # It runs at a cloud with no agent of ours: nobody beats for it, its GPUs never have names, and
    # the cloud's word stands in an agent's place.
    agentless: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    # A rented machine's GPUs are not known yet: each must have so much memory. None: they are.
    awaits_mib: Mapped[int | None] = mapped_column(BigInteger)
    joined_ns: Mapped[int | None] = mapped_column(BigInteger)  # when they were
    opened_ns: Mapped[int] = mapped_column(BigInteger)
    renewed_ns: Mapped[int] = mapped_column(BigInteger)  # when a renewal was last answered
    stop_asked_ns: Mapped[int | None] = mapped_column(BigInteger)
    closed_ns: Mapped[int | None] = mapped_column(BigInteger)
    outcome: Mapped[str | None] = mapped_column(Text)
    seen_state: Mapped[str | None] = mapped_column(Text)
    seen_reason: Mapped[str] = mapped_column(Text)
    seen_port: Mapped[int] = mapped_column(Integer)
    seen_restarts: Mapped[int] = mapped_column(Integer)
    seen_kv_tokens: Mapped[int | None] = mapped_column(BigInteger)  # room in the worker's cache
    seen_ns: Mapped[int | None] = mapped_column(BigInteger)


class LeaseGpu(Base):
    """Which GPUs a lease holds. The index makes a second live claim of one impossible."""

    __tablename__ = "lease_gpu"
    __table_args__ = (
        Index(
            "uq_lease_gpu_live",
            "node_id",
            "gpu_uuid",
            unique=True,
            postgresql_where=text("live"),
        ),
        Index("ix_lease_gpu_live_uuid", "gpu_uuid", postgresql_where=text("live")),
    )

    lease_id: Mapped[LeaseId] = mapped_column(
        IdColumn(LeaseId), ForeignKey("lease.lease_id"), primary_key=True
    )
    gpu_uuid: Mapped[str] = mapped_column(Text, primary_key=True)
    node_id: Mapped[NodeId] = mapped_column(IdColumn(NodeId))
    position: Mapped[int] = mapped_column(Integer)
    live: Mapped[bool] = mapped_column(Boolean)


class VolumeDrop(Base):
    """A volume that a node is to remove; the row goes when the node reports it no more."""

    __tablename__ = "volume_drop"

    node_id: Mapped[NodeId] = mapped_column(
        IdColumn(NodeId), ForeignKey("node.node_id"), primary_key=True
    )
    volume_id: Mapped[str] = mapped_column(Text, primary_key=True)


class AgentSession(Base):
    """Nonces of session requests, so that a recorded one opens nothing.

    Of an agent start that was replaced one row stays: it is refused for ever.
    """

    __tablename__ = "agent_session"

    node_id: Mapped[NodeId] = mapped_column(
        IdColumn(NodeId), ForeignKey("node.node_id"), primary_key=True
    )
    nonce: Mapped[str] = mapped_column(Text, primary_key=True)
    agent_start_id: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class LeaseLog(Base):
    """The newest lines that a lease's worker wrote; the agent numbers them."""

    __tablename__ = "lease_log"

    lease_id: Mapped[LeaseId] = mapped_column(
        IdColumn(LeaseId), ForeignKey("lease.lease_id"), primary_key=True
    )
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at_ns: Mapped[int] = mapped_column(BigInteger)
    stream: Mapped[str] = mapped_column(Text)
    line: Mapped[str] = mapped_column(Text)


class LeaseLogSize(Base):
    """How much of a lease's log is kept, and the newest number; when a line last came."""

    __tablename__ = "lease_log_size"

    lease_id: Mapped[LeaseId] = mapped_column(IdColumn(LeaseId), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    lines: Mapped[int] = mapped_column(BigInteger)
    newest: Mapped[int] = mapped_column(BigInteger)
    written_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)


class Reception(Base):
    """When each brain process was receiving beats and could write: silence counts only then."""

    __tablename__ = "fleet_reception"

    boot_id: Mapped[str] = mapped_column(Text, primary_key=True)
    since_ns: Mapped[int] = mapped_column(BigInteger)
    until_ns: Mapped[int] = mapped_column(BigInteger)


class LinkGateway(Base):
    """Where a gateway, or the front of pods, takes agents' links, and when it last was there."""

    __tablename__ = "link_gateway"

    boot_id: Mapped[str] = mapped_column(Text, primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    pods: Mapped[bool] = mapped_column(Boolean)
    seen_ns: Mapped[int] = mapped_column(BigInteger)
