"""What the routes of changes take and give: a patch, a rollback, revisions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from brain.deployments.models import DeploymentRevision
from brain.deployments.revisions import read_settings
from brain.deployments.scaling_schemas import ScalingIn
from brain.deployments.schemas import (
    Arguments,
    Budget,
    Deadline,
    Dollars,
    Drain,
    Region,
    Secrets,
    Surge,
    plain_dollars,
)
from brain.deployments.updates import Change
from brain.deployments.wishes import wishes_of
from brain.edge import Body
from brain.scheduling import Prefer
from kernel.clock import at_ns
from kernel.errors import BadInput
from kernel.money import Money

# By their names in ``revisions.Settings``, ``wishes.Wishes`` and the row.
_SETTINGS = ("gpu", "context", "concurrency", "secrets", "arguments")
_WISHES = ("regions", "spot", "secure", "prefer")
_TERMS = (
    "replicas",
    "max_duration_seconds",
    "idle_stop_seconds",
    "max_surge",
    "max_unavailable",
    "drain_seconds",
)
_NEVER_NULL = frozenset(
    {"model", "replicas", "max_surge", "max_unavailable", "secrets", "arguments", *_WISHES}
)


class DeploymentPatch(ScalingIn):
    """Only what is named changes. ``null`` takes back a limit, or returns to the model's default.

    The first nine fields, and ``secrets`` and ``arguments``, make a new revision: its workers take
    the place of those that run, ``max_surge`` more and ``max_unavailable`` fewer at a time. The
    others hold at once.
    """

    model: Annotated[str, Field(min_length=1, max_length=96)] | None = None
    quantisation: Annotated[str, Field(pattern=r"^[a-z0-9-]{2,15}$")] | None = None
    max_price_usd_per_gpu_hour: Dollars | None = None
    gpu: Annotated[str, Field(pattern=r"^[\w .()/-]{1,60}$")] | None = None
    context: Annotated[int, Field(ge=1, le=10**7, strict=True)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=1024, strict=True)] | None = None
    regions: Annotated[list[Region], Field(max_length=20)] | None = None
    spot: Annotated[bool, Field(strict=True)] | None = None
    secure: Annotated[bool, Field(strict=True)] | None = None
    min_reliability_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    prefer: Prefer | None = None
    secrets: Secrets | None = None
    arguments: Arguments | None = None
    replicas: Annotated[int, Field(ge=0, le=64, strict=True)] | None = None
    max_duration_seconds: Annotated[int, Field(ge=60, le=31_536_000, strict=True)] | None = None
    idle_stop_seconds: Annotated[int, Field(ge=60, le=2_592_000, strict=True)] | None = None
    budget_usd: Budget | None = None
    max_surge: Surge | None = None
    max_unavailable: Surge | None = None
    rollout_deadline_seconds: Deadline | None = None
    drain_seconds: Drain | None = None

    def change(self, model_now: str) -> Change:
        """``BadInput`` when nothing is named, or ``null`` stands where it means nothing."""
        named = self.model_fields_set
        given = {name: getattr(self, name) for name in named}
        if not named:
            raise BadInput("Say what to change.")
        for name in sorted(named & _NEVER_NULL):
            if given[name] is None:
                raise BadInput(f"{name} cannot be null; leave it out to keep it.", param=name)
        settings: dict[str, Any] = {n: given[n] for n in _SETTINGS if n in named}
        if "secrets" in settings:
            settings["secrets"] = tuple(settings["secrets"])
        if "arguments" in settings:
            settings["arguments"] = tuple(settings["arguments"])
        if named & {"model", "quantisation"}:
            settings["model"] = self._model(model_now)
        if "max_price_usd_per_gpu_hour" in named:
            settings["price_max_nano"] = _nano(self.max_price_usd_per_gpu_hour)
        wishes: dict[str, Any] = {n: given[n] for n in _WISHES if n in named}
        if "regions" in wishes:
            wishes["regions"] = tuple(wishes["regions"])
        if "min_reliability_percent" in named:
            percent = self.min_reliability_percent or 0
            wishes["reliability_ppm_min"] = round(percent * 10_000)
        terms: dict[str, Any] = {n: given[n] for n in _TERMS if n in named} | self.scaling()
        if "budget_usd" in named:
            terms["budget_nano"] = _nano(self.budget_usd)
        if "rollout_deadline_seconds" in named:
            terms["progress_seconds"] = self.rollout_deadline_seconds
        return Change(settings=settings, terms=terms, wishes=wishes)

    def _model(self, model_now: str) -> str:
        """With its weights: those that are asked for, or as they are published."""
        base = self.model or model_now.partition(":")[0]
        return f"{base}:{self.quantisation}" if self.quantisation else base


class Rollback(Body):
    """Without a number: to the last revision whose workers all were ready."""

    revision: Annotated[int, Field(ge=1, le=10**6, strict=True)] | None = None


class RevisionOut(BaseModel):
    """``outcome``: ``complete``, ``superseded``, ``failed``, ``rolled_back``; null: under way."""

    revision: int
    current: bool
    asked_at: datetime
    outcome: str | None
    reason: str
    ended_at: datetime | None
    model: str
    context: int
    concurrency: int
    gpu: str | None
    max_price_usd_per_gpu_hour: str | None
    secrets: list[str]
    arguments: list[str]
    regions: list[str]
    spot: bool
    secure: bool
    prefer: Prefer


def show_revision(row: DeploymentRevision, current: int) -> RevisionOut:
    settings = read_settings(row.settings)
    wishes = wishes_of(settings.wishes)
    return RevisionOut(
        revision=row.number,
        current=row.number == current,
        asked_at=at_ns(row.asked_ns),
        outcome=row.outcome,
        reason=row.reason,
        ended_at=None if row.ended_ns is None else at_ns(row.ended_ns),
        model=settings.model,
        context=settings.context,
        concurrency=settings.concurrency,
        gpu=settings.gpu,
        max_price_usd_per_gpu_hour=plain_dollars(settings.price_max_nano),
        secrets=list(settings.secrets),
        arguments=list(settings.arguments),
        regions=list(wishes.regions),
        spot=wishes.spot,
        secure=wishes.secure,
        prefer=wishes.prefer,
    )


def _nano(dollars: str | None) -> int | None:
    return None if dollars is None else Money.usd(dollars).nano
