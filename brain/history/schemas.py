"""Bodies of the history's routes."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import BaseModel

from brain.history.core import METRICS, NONE, Fold, shown
from brain.history.service import Found, Subject

Numbers = list[float | None]


class MeasuredOut(BaseModel):
    """One value for each of ``times``; null: nothing was measured then."""

    unit: str
    mean: Numbers
    low: Numbers
    high: Numbers


class SeriesOut(BaseModel):
    """``kind``: gpu, worker or node. Metrics that were never measured are left out."""

    kind: str
    node_id: str
    gpu_uuid: str | None = None
    lease_id: str | None = None
    replica_id: str | None = None
    metrics: dict[str, MeasuredOut]


class HistoryOut(BaseModel):
    """``times``: each bucket's start. What is newer than two minutes may still be missing where
    ``step_seconds`` is a minute or more."""

    step_seconds: int
    times: list[datetime]
    series: list[SeriesOut]


def show(found: Found) -> HistoryOut:
    starts = found.window.starts
    return HistoryOut(
        step_seconds=found.window.step_s,
        times=[datetime.fromtimestamp(at, UTC) for at in starts],
        series=[
            _series(subject, [folds.get(at) for at in starts])
            for subject, folds in zip(found.subjects, found.folds, strict=True)
        ],
    )


def _series(subject: Subject, buckets: list[list[Fold] | None]) -> SeriesOut:
    metrics = {}
    for slot, metric in enumerate(METRICS[subject.kind]):
        folds = [NONE if bucket is None else bucket[slot] for bucket in buckets]
        if any(one.n for one in folds):
            mean, low, high = shown(folds, metric)
            metrics[metric.name] = MeasuredOut(unit=metric.unit, mean=mean, low=low, high=high)
    return SeriesOut(
        kind=subject.kind.value,
        node_id=str(subject.node_id),
        gpu_uuid=subject.name if subject.kind == "gpu" else None,
        lease_id=subject.name if subject.kind == "worker" else None,
        replica_id=None if subject.replica_id is None else str(subject.replica_id),
        metrics=metrics,
    )
