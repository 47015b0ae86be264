"""What the deployment routes take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from brain.deployments.models import Deployment, DeploymentEvent, Placement, Replica
from brain.deployments.scaling import said
from brain.deployments.scaling_schemas import ScalingIn, ScalingOut, show_scaling
from brain.deployments.service import Wanted, Whole
from brain.deployments.wishes import Wishes, wishes_of
from brain.scheduling import Prefer
from brain.secrets import NAME_PATTERN, NAMES_MAX
from kernel.clock import at_ns
from kernel.money import Money

Budget = Annotated[str, Field(pattern=r"^\d{1,7}(\.\d{1,9})?$", examples=["25"])]
Region = Annotated[str, Field(pattern=r"^[\w .,()/-]{1,60}$", examples=["us-east-1"])]
Dollars = Annotated[str, Field(pattern=r"^\d{1,4}(\.\d{1,9})?$", examples=["1.50"])]

Secrets = Annotated[
    list[Annotated[str, Field(pattern=NAME_PATTERN, examples=["HF_TOKEN"])]],
    Field(
        max_length=NAMES_MAX,
        description="Names of the account's secrets, given to each worker as its environment.",
    ),
]
Arguments = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=200)]],
    Field(max_length=32, description="Added to the engine's own; only those on a list are taken."),
]
Surge = Annotated[int, Field(ge=0, le=16, strict=True)]
Deadline = Annotated[
    int,
    Field(ge=10, le=86_400, strict=True, description="A rollout that stands still is given up."),
]
Drain = Annotated[
    int,
    Field(ge=1, le=3600, strict=True, description="Requests in flight have so long to end."),
]


class DeploymentCreate(ScalingIn):
    """``name`` is what clients write in ``model``; without it that is the model's own id, with
    its quantisation (``<id>:fp8``) where one is asked for."""

    model: Annotated[str, Field(min_length=1, max_length=96, examples=["ganglion/stand-in"])]
    quantisation: Annotated[str, Field(pattern=r"^[a-z0-9-]{2,15}$", examples=["fp8"])] | None = (
        None
    )
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w./:-]{0,95}$")] | None = None
    replicas: Annotated[int, Field(ge=1, le=64, strict=True)] = 1
    max_price_usd_per_gpu_hour: Dollars | None = None
    gpu: Annotated[str, Field(pattern=r"^[\w .()/-]{1,60}$", examples=["H100"])] | None = None
    context: Annotated[int, Field(ge=1, le=10**7, strict=True)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=1024, strict=True)] | None = None
    pool: Annotated[bool, Field(strict=True)] = False
    max_duration_seconds: Annotated[int, Field(ge=60, le=31_536_000, strict=True)] | None = None
    idle_stop_seconds: Annotated[int, Field(ge=60, le=2_592_000, strict=True)] | None = None
    budget_usd: Budget | None = None
    regions: Annotated[list[Region], Field(max_length=20)] = Field(default_factory=list)
    spot: Annotated[bool, Field(strict=True)] = False
    secure: Annotated[bool, Field(strict=True)] = False
    min_reliability_percent: Annotated[float, Field(ge=0, le=100)] = 0
    prefer: Prefer = Prefer.CHEAPEST
    secrets: Secrets = Field(default_factory=list)
    arguments: Arguments = Field(default_factory=list)
    max_surge: Surge = 1
    max_unavailable: Surge = 0
    rollout_deadline_seconds: Deadline | None = None
    drain_seconds: Drain | None = None

    def wanted(self) -> Wanted:
        price = self.max_price_usd_per_gpu_hour
        return Wanted(
            model=f"{self.model}:{self.quantisation}" if self.quantisation else self.model,
            name=self.name,
            replicas=self.replicas,
            price_max=None if price is None else Money.usd(price),
            gpu=self.gpu,
            context=self.context,
            concurrency=self.concurrency,
            pool=self.pool,
            max_duration_seconds=self.max_duration_seconds,
            idle_stop_seconds=self.idle_stop_seconds,
            budget=None if self.budget_usd is None else Money.usd(self.budget_usd),
            wishes=Wishes(
                regions=tuple(self.regions),
                spot=self.spot,
                secure=self.secure,
                reliability_ppm_min=round(self.min_reliability_percent * 10_000),
                prefer=self.prefer,
            ),
            secrets=tuple(self.secrets),
            arguments=tuple(self.arguments),
            max_surge=self.max_surge,
            max_unavailable=self.max_unavailable,
            progress_seconds=self.rollout_deadline_seconds,
            drain_seconds=self.drain_seconds,
            scaling=self.scaling(),
        )


class Scale(ScalingIn):
    """A number of replicas, or bounds between which the load decides."""

    replicas: Annotated[int, Field(ge=0, le=64, strict=True)] | None = None


class ReplicaOut(BaseModel):
    """``since`` is when it came into this state; ``reason`` is why."""

    replica_id: str
    revision: int
    state: str
    reason: str
    since: datetime
    waiting_reason: str
    stop_asked: bool
    lease_id: str | None
    epoch: int
    node_id: str | None
    gpus: int
    created_at: datetime
    claimed_at: datetime | None
    ready_at: datetime | None
    crashed_at: datetime | None
    ended_at: datetime | None


class RolloutOut(BaseModel):
    """How far a revision is. ``state``: ``complete``, ``rolling`` (``from_revision`` goes on until
    the new workers are ready), ``rolling_back`` or ``starting`` (the first one).

    ``updated`` workers are of the revision, ``ready`` of these are ready, ``old`` ones go on;
    ``reason`` says why the last rollout was given up.
    """

    state: str
    revision: int
    from_revision: int | None
    updated: int
    ready: int
    old: int
    since: datetime
    reason: str


class DeploymentOut(ScalingOut):
    """``state`` is derived from the replicas; ``asked`` is what its owner asked for."""

    deployment_id: str
    name: str
    model: str
    kind: str
    pool: bool
    state: str
    asked: str
    asked_reason: str
    broken_reason: str | None
    replicas: int
    ready_replicas: int
    context: int
    concurrency: int
    gpu: str | None
    max_price_usd_per_gpu_hour: str | None
    pool_price_usd_per_gpu_hour: str | None
    max_duration_seconds: int | None
    idle_stop_seconds: int | None
    budget_usd: str | None
    regions: list[str]
    spot: bool
    secure: bool
    min_reliability_percent: float
    prefer: Prefer
    secrets: list[str]
    arguments: list[str]
    max_surge: int
    max_unavailable: int
    rollout_deadline_seconds: int | None
    drain_seconds: int | None
    revision: int
    rollout: RolloutOut
    created_at: datetime
    replica_list: list[ReplicaOut]


class EventOut(BaseModel):
    event_id: str
    at: datetime
    what: str
    reason: str
    replica_id: str | None


class CandidateOut(BaseModel):
    """``node_id`` null: a machine of ``cloud``, rented if it is chosen."""

    node_id: str | None
    node_name: str
    cloud: str = ""
    region: str = ""
    gpu_name: str
    vram_mib: int
    free: int
    total: int
    price_usd_per_gpu_hour: str
    simulated: bool
    ok: bool
    gpus: int
    expected_cost_usd: str | None
    reasons: list[str]


class WhyOut(BaseModel):
    """``outcome`` in one sentence; ``candidates`` best first, ``candidate_count`` of all."""

    deployment_id: str
    outcome: str
    planned_at: datetime | None
    asked: dict[str, Any]
    candidates: list[CandidateOut]
    candidate_count: int
    waiting: list[str]
    scaling: str = ""  # the last decision on how many replicas its load needs


def show(found: Whole) -> DeploymentOut:
    row: Deployment = found.deployment
    states = [replica.state for replica in found.replicas]
    wishes = wishes_of(row.wishes)
    return DeploymentOut(
        deployment_id=row.deployment_id,
        name=row.name,
        model=row.model,
        kind=row.kind,
        pool=row.pool,
        state=found.state.value,
        asked=row.asked,
        asked_reason=row.asked_reason,
        broken_reason=row.broken_reason,
        replicas=row.replicas,
        ready_replicas=states.count("ready"),
        **show_scaling(row),
        context=row.context,
        concurrency=row.concurrency,
        gpu=row.gpu,
        max_price_usd_per_gpu_hour=plain_dollars(row.price_max_nano),
        pool_price_usd_per_gpu_hour=plain_dollars(row.rate_nano) if row.pool else None,
        max_duration_seconds=row.max_duration_seconds,
        idle_stop_seconds=row.idle_stop_seconds,
        budget_usd=plain_dollars(row.budget_nano),
        regions=list(wishes.regions),
        spot=wishes.spot,
        secure=wishes.secure,
        min_reliability_percent=wishes.reliability_ppm_min / 10_000,
        prefer=wishes.prefer,
        secrets=list(row.secrets),
        arguments=list(row.arguments),
        max_surge=row.max_surge,
        max_unavailable=row.max_unavailable,
        rollout_deadline_seconds=row.progress_seconds,
        drain_seconds=row.drain_seconds,
        revision=row.revision,
        rollout=show_rollout(found),
        created_at=row.created_at,
        replica_list=[show_replica(replica) for replica in found.replicas],
    )


def show_rollout(found: Whole) -> RolloutOut:
    row = found.deployment
    live = [r for r in found.replicas if r.ended_ns is None and r.stop_asked_ns is None]
    updated = [r for r in live if r.revision == row.revision]
    old = len(live) - len(updated)
    if row.stable_revision is None:
        state = "starting"
    elif row.stable_revision != row.revision:
        state = "rolling"
    else:
        state = "rolling_back" if old else "complete"
    return RolloutOut(
        state=state,
        revision=row.revision,
        from_revision=row.stable_revision if state == "rolling" else None,
        updated=len(updated),
        ready=sum(r.state == "ready" for r in updated),
        old=old,
        since=at_ns(row.rollout_ns),
        reason=row.rollout_reason,
    )


def show_replica(row: Replica) -> ReplicaOut:
    return ReplicaOut(
        replica_id=row.replica_id,
        revision=row.revision,
        state=row.state,
        reason=row.state_reason,
        since=row.state_at,
        waiting_reason=row.waiting_reason,
        stop_asked=row.stop_asked_ns is not None,
        lease_id=row.lease_id,
        epoch=row.epoch,
        node_id=row.node_id,
        gpus=row.gpus,
        created_at=row.created_at,
        claimed_at=_time(row.claimed_ns),
        ready_at=_time(row.ready_ns),
        crashed_at=_time(row.crashed_ns),
        ended_at=_time(row.ended_ns),
    )


def show_event(row: DeploymentEvent) -> EventOut:
    return EventOut(
        event_id=row.event_id,
        at=at_ns(row.at_ns),
        what=row.what,
        reason=row.reason,
        replica_id=row.replica_id,
    )


def show_why(found: Whole, placement: Placement | None) -> WhyOut:
    waiting = [
        r.waiting_reason for r in found.replicas if r.state == "pending" and r.waiting_reason
    ]
    if placement is None:
        return WhyOut(
            deployment_id=found.deployment.deployment_id,
            outcome="No place was looked for yet.",
            planned_at=None,
            asked={},
            candidates=[],
            candidate_count=0,
            waiting=waiting,
            scaling=said(found.deployment),
        )
    return WhyOut(
        deployment_id=found.deployment.deployment_id,
        outcome=placement.outcome,
        planned_at=at_ns(placement.at_ns),
        asked=placement.asked,
        candidates=[CandidateOut.model_validate(c) for c in placement.candidates],
        candidate_count=placement.candidate_count,
        waiting=waiting,
        scaling=said(found.deployment),
    )


def plain_dollars(nano: int | None) -> str | None:
    """A plain decimal, as it is taken: no sign, no thousands' commas."""
    return None if nano is None else str(Money(nano)).replace("$", "").replace(",", "")


def _time(ns: int | None) -> datetime | None:
    return None if ns is None else at_ns(ns)
