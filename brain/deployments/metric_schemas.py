"""What the route of metrics gives: each live worker's gauges and those of its GPUs."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

from brain.deployments.models import Replica
from brain.fleet import LeaseMetrics
from kernel.clock import at_ns


class GpuMetricsOut(BaseModel):
    uuid: str
    name: str
    utilisation_percent: int | None
    memory_used_mib: int
    memory_total_mib: int
    temperature_c: int | None
    power_watts: float | None
    simulated: bool


class ReplicaMetricsOut(BaseModel):
    """``worker`` holds the worker's own gauges by their own names; ``seen_at`` null: none yet."""

    replica_id: str
    state: str
    seen_at: datetime | None
    worker: dict[str, float]
    gpus: list[GpuMetricsOut]
    restarts: int


class MetricsOut(BaseModel):
    items: list[ReplicaMetricsOut]


def show_metrics(row: Replica, seen: LeaseMetrics | None) -> ReplicaMetricsOut:
    gpus = () if seen is None else seen.gpus
    return ReplicaMetricsOut(
        replica_id=row.replica_id,
        state=row.state,
        seen_at=None if seen is None else at_ns(seen.at_ns),
        worker={} if seen is None else seen.worker,
        gpus=[
            GpuMetricsOut(
                uuid=gpu.uuid,
                name=gpu.name,
                utilisation_percent=gpu.utilisation_percent,
                memory_used_mib=gpu.memory_used_mib,
                memory_total_mib=gpu.memory_total_mib,
                temperature_c=gpu.temperature_c,
                power_watts=None if gpu.power_mw is None else gpu.power_mw / 1000,
                simulated=gpu.simulated,
            )
            for gpu in gpus
        ],
        restarts=0 if seen is None else seen.restarts,
    )
