"""The history's share in a beat, its writing and its rolling up, for 1,000 nodes of 8 GPUs."""

from __future__ import annotations

from time import perf_counter, process_time

from prometheus_client import CollectorRegistry
from sqlalchemy import text

from bench.figure import Figure
from bench.fleet_rows import system_ctx
from brain import migrate
from brain.history import HistoryPart, Meters, store
from brain.plumbing import Ctx
from kernel.clock import NS
from kernel.ids import NodeId
from kernel.wire.agent import (
    Beat,
    BeatAnswer,
    GpuReading,
    GpuSpans,
    HostReading,
    LeaseSeen,
    LeaseSeenState,
    NvmlState,
    Span,
)

NODES = 1000
GPUS = 8
BEATS_A_MINUTE = 6
ANSWER = BeatAnswer(generation=1)


async def figures(url: str, redis_url: str) -> list[Figure]:
    """A minute of beats into the database at ``url``, and the minute rolled up."""
    await migrate.upgrade(url)
    ctx = system_ctx(url, pool_size=2)
    try:
        return await _minute(ctx)
    finally:
        await ctx.db.close()


async def _minute(ctx: Ctx) -> list[Figure]:
    part = HistoryPart(ctx, Meters(CollectorRegistry()))
    beats = [(NodeId(f"node_{n:032x}"), _beat(n)) for n in range(NODES)]
    minute_s = ctx.clock.now_ns() // NS // 60 * 60
    took, wrote, rows = 0.0, 0.0, 0
    for place in range(BEATS_A_MINUTE):
        now_ns = (minute_s + 10 * place) * NS
        began = process_time()
        for node_id, beat in beats:
            part.beat(node_id, beat, ANSWER, now_ns)
        took += process_time() - began
        rows += len(part.rows)
        wall = perf_counter()
        await part.flush()
        wrote += perf_counter() - wall
    wall = perf_counter()
    async with ctx.db.begin() as tx:
        await store.roll_minute(tx, minute_s)
    rolled = perf_counter() - wall
    return [
        Figure("history_beat_us", took / (NODES * BEATS_A_MINUTE) * 1e6, "us"),
        Figure("history_written_rows_per_s", rows / wrote, "1/s"),
        Figure("history_rolled_rows_per_s", rows / rolled, "1/s"),
        Figure("history_row_bytes", await _bytes_a_row(ctx, rows), "B"),
    ]


async def _bytes_a_row(ctx: Ctx, rows: int) -> float:
    """Of the raw table with its indexes."""
    async with ctx.db.begin() as tx:
        size = await tx.scalar(
            text(
                "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits"
                " WHERE inhparent = 'history_10s'::regclass"
            )
        )
    return float(size or 0) / rows


def _beat(node: int) -> Beat:
    span = Span(2, 150_000, 70_000, 80_000)
    gpus = [
        GpuReading(
            uuid=f"GPU-{node:08d}-{place}",
            name="NVIDIA H100 80GB HBM3",
            memory_total_mib=81_559,
            spans=GpuSpans(Span(2, 150, 60, 90), span, span, Span(2, 140, 68, 72), span),
        )
        for place in range(GPUS)
    ]
    leases = [
        LeaseSeen(
            lease_id=f"lease_{node:08d}{place}",
            epoch=1,
            state=LeaseSeenState.READY,
            metrics={"vllm:num_requests_running": 3.0, "vllm:kv_cache_usage_perc": 0.5},
        )
        for place in range(GPUS)
    ]
    host = HostReading(hostname="h", os="Debian 12", cpu_count=8, memory_used_mib=9000)
    return Beat(f"node_{node:032x}", "boot", 1, NvmlState.OK, gpus, host, leases)
