"""Tables of deployments: what was asked, each replica, what happened, where it may stand."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, IdColumn, Stated, Work
from kernel.ids import AccountId, DeploymentId, EventId, LeaseId, NodeId, ReplicaId


class Deployment(Work, Base):
    """``asked`` and what follows it are the owner's; ``broken_*`` are the reconciler's.

    Cost guards have columns of their own, which no change of state clears.
    """

    __tablename__ = "deployment"
    __table_args__ = (
        Index(
            "uq_deployment_name",
            "account_id",
            "name",
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

    deployment_id: Mapped[DeploymentId] = mapped_column(IdColumn(DeploymentId), primary_key=True)
    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId))
    name: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    pool: Mapped[bool] = mapped_column(Boolean)
    rate_nano: Mapped[int] = mapped_column(BigInteger)
    ceiling_prompt_nano: Mapped[int] = mapped_column(BigInteger)
    ceiling_completion_nano: Mapped[int] = mapped_column(BigInteger)
    gpu: Mapped[str | None] = mapped_column(Text)
    context: Mapped[int] = mapped_column(Integer)
    concurrency: Mapped[int] = mapped_column(Integer)
    asked: Mapped[str] = mapped_column(Text)
    asked_reason: Mapped[str] = mapped_column(Text)
    asked_ns: Mapped[int] = mapped_column(BigInteger)
    replicas: Mapped[int] = mapped_column(Integer)
    # With ``max_replicas`` the load decides (scaling.py): ``replicas`` is then its word.
    min_replicas: Mapped[int | None] = mapped_column(Integer)
    max_replicas: Mapped[int | None] = mapped_column(Integer)
    target_in_flight: Mapped[int | None] = mapped_column(Integer)
    scale_down_after_seconds: Mapped[int | None] = mapped_column(Integer)
    scale_to_zero_after_seconds: Mapped[int | None] = mapped_column(Integer)
    scaling_seen: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    price_max_nano: Mapped[int | None] = mapped_column(BigInteger)
    max_duration_seconds: Mapped[int | None] = mapped_column(Integer)
    idle_stop_seconds: Mapped[int | None] = mapped_column(Integer)
    budget_nano: Mapped[int | None] = mapped_column(BigInteger)  # the most it may ever cost
    wishes: Mapped[dict[str, Any]] = mapped_column(JSONB)  # as in ``wishes.Wishes``
    # As in ``recipes.OwnLaunch``; None: it runs the model of the catalog.
    own_launch: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    # Names of the account's secrets that each lease is given, and what is added to the engine's own
    # arguments.
    secrets: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list)
    arguments: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list)
    # The revision that the settings above are, and the last one whose workers all were ready.
    revision: Mapped[int] = mapped_column(Integer, default=1)
    stable_revision: Mapped[int | None] = mapped_column(Integer)
    rollout_ns: Mapped[int] = mapped_column(BigInteger, default=0)  # when it was asked for
    rollout_reason: Mapped[str] = mapped_column(Text, default="")  # of the last one given up
    max_surge: Mapped[int] = mapped_column(Integer, default=1)
    max_unavailable: Mapped[int] = mapped_column(Integer, default=0)
    progress_seconds: Mapped[int | None] = mapped_column(Integer)
    drain_seconds: Mapped[int | None] = mapped_column(Integer)
    broken_reason: Mapped[str | None] = mapped_column(Text)
    broken_ns: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    deleted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Replica(Stated, Work, Base):
    """One worker. ``stop_*`` is what the deployment asks of it, ``state`` what it is."""

    __tablename__ = "replica"
    __table_args__ = (Index("ix_replica_deployment_id", "deployment_id"),)

    replica_id: Mapped[ReplicaId] = mapped_column(IdColumn(ReplicaId), primary_key=True)
    deployment_id: Mapped[DeploymentId] = mapped_column(
        IdColumn(DeploymentId), ForeignKey("deployment.deployment_id")
    )
    revision: Mapped[int] = mapped_column(Integer)
    model: Mapped[str] = mapped_column(Text)  # of its revision: what its worker is asked for
    lease_id: Mapped[LeaseId | None] = mapped_column(IdColumn(LeaseId), unique=True)
    epoch: Mapped[int] = mapped_column(BigInteger)
    node_id: Mapped[NodeId | None] = mapped_column(IdColumn(NodeId))
    gpus: Mapped[int] = mapped_column(Integer)
    start_seconds_max: Mapped[int] = mapped_column(Integer)
    drain_seconds_max: Mapped[int] = mapped_column(Integer)
    stop_asked_ns: Mapped[int | None] = mapped_column(BigInteger)
    stop_reason: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(Integer)  # how often a place was looked for
    waiting_reason: Mapped[str] = mapped_column(Text)
    state_ns: Mapped[int] = mapped_column(BigInteger)  # business time of ``state_at``
    claimed_ns: Mapped[int | None] = mapped_column(BigInteger)
    ready_ns: Mapped[int | None] = mapped_column(BigInteger)
    crashed_ns: Mapped[int | None] = mapped_column(BigInteger)
    crashes: Mapped[int] = mapped_column(Integer)  # starts that failed, the agent's own included
    restarts: Mapped[int] = mapped_column(Integer)  # the agent's count, as last looked at
    restarts_ns: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))  # the newest, when seen
    ended_ns: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class DeploymentRevision(Base):
    """What one revision runs, as in ``revisions.Settings``; ``outcome`` None: it is being rolled
    out, or waits for its first workers."""

    __tablename__ = "deployment_revision"

    deployment_id: Mapped[DeploymentId] = mapped_column(
        IdColumn(DeploymentId), ForeignKey("deployment.deployment_id"), primary_key=True
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    settings: Mapped[dict[str, Any]] = mapped_column(JSONB)
    asked_ns: Mapped[int] = mapped_column(BigInteger)
    outcome: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    ended_ns: Mapped[int | None] = mapped_column(BigInteger)


class DeploymentLoad(Base):
    """What a gateway told last of a deployment that follows its load."""

    __tablename__ = "deployment_load"
    __table_args__ = (Index("ix_deployment_load_deployment_id", "deployment_id"),)

    boot_id: Mapped[str] = mapped_column(Text, primary_key=True)
    deployment_id: Mapped[str] = mapped_column(Text, primary_key=True)
    in_flight: Mapped[float] = mapped_column(Double)
    waiting: Mapped[int] = mapped_column(BigInteger)
    tokens_per_second: Mapped[float] = mapped_column(Double)
    caches: Mapped[float] = mapped_column(Double, server_default="0")
    queued: Mapped[int] = mapped_column(BigInteger, server_default="0")
    seen_ns: Mapped[int] = mapped_column(BigInteger)


class ModelMeasure(Base):
    """What a start of a model on so many GPUs showed beside the sum of its memory: the newest."""

    __tablename__ = "model_measure"

    model: Mapped[str] = mapped_column(Text, primary_key=True)
    gpus: Mapped[int] = mapped_column(Integer, primary_key=True)
    mib: Mapped[int] = mapped_column(BigInteger)  # on each GPU; below 0: it took less
    how: Mapped[str] = mapped_column(Text)
    replica_id: Mapped[ReplicaId] = mapped_column(IdColumn(ReplicaId))
    measured_ns: Mapped[int] = mapped_column(BigInteger)


class DeploymentEvent(Base):
    """What happened, for people: asks, moves of replicas, and why."""

    __tablename__ = "deployment_event"
    __table_args__ = (
        Index("ix_deployment_event_deployment_id", "deployment_id", "at_ns", "event_id"),
    )

    event_id: Mapped[EventId] = mapped_column(IdColumn(EventId), primary_key=True)
    deployment_id: Mapped[DeploymentId] = mapped_column(
        IdColumn(DeploymentId), ForeignKey("deployment.deployment_id")
    )
    replica_id: Mapped[ReplicaId | None] = mapped_column(IdColumn(ReplicaId))
    what: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    at_ns: Mapped[int] = mapped_column(BigInteger)


class Placement(Base):
    """The last plan made for a deployment: each candidate with its reasons."""

    __tablename__ = "placement"

    deployment_id: Mapped[DeploymentId] = mapped_column(
        IdColumn(DeploymentId), ForeignKey("deployment.deployment_id"), primary_key=True
    )
    replica_id: Mapped[ReplicaId] = mapped_column(IdColumn(ReplicaId))
    at_ns: Mapped[int] = mapped_column(BigInteger)
    outcome: Mapped[str] = mapped_column(Text)
    asked: Mapped[dict[str, Any]] = mapped_column(JSONB)
    candidates: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    candidate_count: Mapped[int] = mapped_column(Integer)
