"""What a lease's worker and GPUs last reported, for people."""

from __future__ import annotations

from dataclasses import dataclass

from brain.fleet import leases
from brain.fleet.telemetry import Telemetry
from brain.plumbing import Ctx
from kernel.ids import LeaseId
from kernel.wire.agent import GpuReading, WorkUsage


@dataclass(frozen=True)
class LeaseMetrics:
    """``worker`` holds the worker's own gauges by their own names."""

    at_ns: int
    worker: dict[str, float]
    gpus: tuple[GpuReading, ...]
    restarts: int
    pull_done_mib: int
    pull_total_mib: int
    usage: WorkUsage | None = None  # of its container, where the node samples it


async def lease_metrics(ctx: Ctx, telemetry: Telemetry, lease_id: LeaseId) -> LeaseMetrics | None:
    """From the node's last beat; None when there is none or it does not tell of this lease."""
    async with ctx.db.begin() as tx:
        lease = await leases.lease(tx, lease_id)
    if lease is None:
        return None
    last = (await telemetry.last([lease.node_id])).get(lease.node_id)
    if last is None:
        return None
    seen = next((s for s in last.beat.leases if s.lease_id == lease.lease_id), None)
    if seen is None or seen.epoch != lease.epoch:
        return None
    held = frozenset(lease.gpu_uuids)
    return LeaseMetrics(
        at_ns=last.at_ns,
        worker=dict(seen.metrics),
        gpus=tuple(gpu for gpu in last.beat.gpus if gpu.uuid in held),
        restarts=seen.restarts,
        pull_done_mib=seen.pull_done_mib,
        pull_total_mib=seen.pull_total_mib,
        usage=seen.usage,
    )
