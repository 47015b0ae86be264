"""Answer bodies of the clouds' admin routes. Money is nano-dollars; ``*_usd`` is for people."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from brain.edge import Body
from brain.provisioning.core import accrued_nano, at_of
from brain.provisioning.models import CloudAlert, Intent, UnknownMachine
from brain.provisioning.risk import CloudRisk, Risk, intent_cost
from brain.provisioning.states import AccountState
from kernel.money import Money

STAGES = (
    ("planned", "planned_ns"),
    ("creating", "ordered_ns"),
    ("booting", "made_ns"),
    ("enrolled", "enrolled_ns"),
    ("serving", "serving_ns"),
    ("terminating", "ending_ns"),
)


class StageOut(BaseModel):
    stage: str
    since: datetime


class RentedOut(BaseModel):
    """One rented machine. ``stages`` tells when each began; the last one is where it is. Where
    ``agent`` is "none" it runs a renter's image by itself, until the brain ends it."""

    intent_id: str
    state: str
    reason: str
    since: datetime
    deployment_id: str
    replica_id: str
    lease_id: str
    node_id: str
    agent: str
    attempt: int
    tag: str | None
    machine_id: str | None
    gpu_name: str
    gpus: int
    region: str
    stages: list[StageOut]
    boot_deadline: datetime | None
    cloud_says: str
    last_error: str
    cost_nano_per_hour: int
    cost_so_far_nano: int
    cost_so_far_usd: str


class UnknownOut(BaseModel):
    """A machine with our tag that belongs to nobody."""

    machine_id: str
    tag: str
    state: str
    why: str
    first_seen: datetime
    last_seen: datetime
    last_error: str
    cost_nano_per_hour: int
    cost_so_far_usd: str


class SweepOut(BaseModel):
    at: datetime
    complete: bool
    why: str
    machines: int
    ours: int
    unknown: int
    destroyed: int


class CloudOut(BaseModel):
    """``account``: open, refused, broke or missing. ``frozen``: nothing unknown is destroyed."""

    cloud: str
    account: str
    account_reason: str
    account_since: datetime | None
    frozen: bool
    frozen_reason: str
    frozen_since: datetime | None
    last_sweep: SweepOut | None
    states: dict[str, int]
    machines: list[RentedOut]
    unknown: list[UnknownOut]
    cost_nano_per_hour: int
    cost_per_hour_usd: str
    cost_so_far_nano: int
    cost_so_far_usd: str


class AlertOut(BaseModel):
    subject: str
    kind: str
    cloud: str
    said: str
    since: datetime
    last: datetime


class CloudsOut(BaseModel):
    """Money at risk now."""

    clouds: list[CloudOut]
    alerts: list[AlertOut]
    cost_nano_per_hour: int
    cost_per_hour_usd: str
    cost_so_far_nano: int
    cost_so_far_usd: str


class FreezeBody(Body):
    reason: Annotated[str, Field(min_length=1, max_length=300)]


def show(risk: Risk) -> CloudsOut:
    return CloudsOut(
        clouds=[show_cloud(one, risk.at_ns) for one in risk.clouds],
        alerts=[_alert(row) for row in risk.alerts],
        cost_nano_per_hour=risk.cost_nano_hour,
        cost_per_hour_usd=_usd(risk.cost_nano_hour),
        cost_so_far_nano=risk.accrued_nano,
        cost_so_far_usd=_usd(risk.accrued_nano),
    )


def show_cloud(one: CloudRisk, now_ns: int) -> CloudOut:
    account = one.account
    states: dict[str, int] = {}
    for intent in one.intents:
        states[intent.state] = states.get(intent.state, 0) + 1
    sweep = one.sweep
    return CloudOut(
        cloud=one.cloud,
        account=AccountState.OPEN.value if account is None else account.state,
        account_reason="" if account is None else account.state_reason,
        account_since=None if account is None else account.state_at,
        frozen=account is not None and account.frozen_ns is not None,
        frozen_reason="" if account is None else account.frozen_reason,
        frozen_since=_time(None if account is None else account.frozen_ns),
        last_sweep=None
        if sweep is None
        else SweepOut(
            at=at_of(sweep.began_ns),
            complete=sweep.complete,
            why=sweep.why,
            machines=sweep.machines,
            ours=sweep.ours,
            unknown=sweep.unknown,
            destroyed=sweep.destroyed,
        ),
        states=states,
        machines=[_rented(row, now_ns) for row in one.intents],
        unknown=[_unknown(row, now_ns) for row in one.unknown],
        cost_nano_per_hour=one.cost_nano_hour,
        cost_per_hour_usd=_usd(one.cost_nano_hour),
        cost_so_far_nano=one.accrued_nano,
        cost_so_far_usd=_usd(one.accrued_nano),
    )


def _rented(row: Intent, now_ns: int) -> RentedOut:
    stages = [(name, getattr(row, column)) for name, column in STAGES]
    cost = intent_cost(row, now_ns)
    return RentedOut(
        intent_id=row.intent_id,
        state=row.state,
        reason=row.state_reason,
        since=row.state_at,
        deployment_id=row.deployment_id,
        replica_id=row.replica_id,
        lease_id=row.lease_id,
        node_id=row.node_id,
        agent="none" if row.agentless else "ours",
        attempt=row.attempt,
        tag=row.tag,
        machine_id=row.machine_id,
        gpu_name=str(row.offer["gpu_name"]),
        gpus=int(str(row.offer["gpus"])),
        region=str(row.offer["region"]),
        stages=[StageOut(stage=name, since=at_of(ns)) for name, ns in stages if ns is not None],
        boot_deadline=_time(row.boot_by_ns),
        cloud_says=f"{row.seen_state}: {row.seen_said}" if row.seen_said else row.seen_state,
        last_error=row.last_error,
        cost_nano_per_hour=row.cost_nano_hour,
        cost_so_far_nano=cost,
        cost_so_far_usd=_usd(cost),
    )


def _unknown(row: UnknownMachine, now_ns: int) -> UnknownOut:
    return UnknownOut(
        machine_id=row.machine_id,
        tag=row.tag,
        state=row.state,
        why=row.why,
        first_seen=at_of(row.first_ns),
        last_seen=at_of(row.last_ns),
        last_error=row.last_error,
        cost_nano_per_hour=row.cost_nano_hour,
        cost_so_far_usd=_usd(accrued_nano(row.cost_nano_hour, row.first_ns, now_ns)),
    )


def _alert(row: CloudAlert) -> AlertOut:
    return AlertOut(
        subject=row.subject,
        kind=row.kind,
        cloud=row.cloud,
        said=row.said,
        since=at_of(row.since_ns),
        last=at_of(row.last_ns),
    )


def _usd(nano: int) -> str:
    """A plain decimal: no sign, no thousands' commas."""
    return str(Money(nano)).replace("$", "").replace(",", "")


def _time(ns: int | None) -> datetime | None:
    return None if ns is None else at_of(ns)
