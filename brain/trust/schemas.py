"""Bodies of trust's routes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, populate_by_name=True)


class WindowBody(_Body):
    """Times with their zone. No new work is placed from ``from`` less the notice on."""

    from_: Annotated[AwareDatetime, Field(alias="from")]
    until: AwareDatetime
    reason: Annotated[str, Field(max_length=200)] = ""


class WindowOut(BaseModel):
    """``late``: announced later than the notice asked for, which counts in the score.
    ``no_new_work_from``: when placing stops."""

    model_config = ConfigDict(populate_by_name=True)

    window_id: str
    node_id: str
    from_: Annotated[datetime, Field(alias="from")]
    until: datetime
    reason: str
    announced_at: datetime
    no_new_work_from: datetime
    late: bool
    state: Literal["announced", "now", "over", "cancelled"]


class EventOut(BaseModel):
    """``counted``: points, or an outage's seconds, after weighing by age."""

    kind: str
    subject: str
    at_ns: int
    seconds: int
    detail: str
    weight_ppm: int
    counted: int


class ReliabilityOut(BaseModel):
    """A node's score with all that it is made of: docs/trust.md has the formula."""

    node_id: str
    reliability_ppm: int
    uptime_ppm: int
    penalty: int
    served_ppm: int
    life_seconds: int
    since_ns: int
    as_of_ns: int
    formula: Literal["ganglion-reliability-1"] = "ganglion-reliability-1"
    events: list[EventOut]


class PreflightOut(BaseModel):
    """What the agent told of its machine at that time."""

    at: datetime
    fatal: str
    points: list[dict[str, Any]]


class FindingOut(BaseModel):
    check_id: str
    kind: str
    gpu_uuid: str
    passed: bool
    mode: str
    reason: str
    at: datetime


class CheckOut(BaseModel):
    """A check under way, or one that ended lately."""

    check_id: str
    gpu_uuid: str
    state: str
    reason: str
    asked_at: datetime


class NodeChecksOut(BaseModel):
    """``withheld``: why the node is not sold; empty when nothing enforced speaks against it."""

    node_id: str
    withheld: str
    preflight: list[PreflightOut]
    checks: list[CheckOut]
    findings: list[FindingOut]


class ModeOut(BaseModel):
    """A kind of check and how it went since its mode was set. ``false_positives``: failures of
    a GPU that passed the same check within a day after, on the same boot."""

    kind: str
    mode: str
    since: datetime
    changed_by: str
    passed: int
    failed: int
    false_positives: int
    may_be_enforced_at: datetime | None


class ModesOut(BaseModel):
    items: list[ModeOut]


class ModeBody(_Body):
    mode: Literal["off", "shadow", "enforced"]


class DueOut(BaseModel):
    node_id: str
    due: Literal["now"] = "now"
