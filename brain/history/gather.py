"""This room's share in each beat: readings become rows in memory, written every ten seconds.

Nothing waits for it: a database that is away costs samples, at most ``ROWS_MAX`` are kept for its
return (some 100 MB), and what is lost is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

from brain.history import store
from brain.history.core import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    NO_NUMBERS,
    SLOTS,
    TEN_SECONDS,
    Kind,
    Numbers,
    of_span,
    of_value,
    row_of,
    series_of,
)
from brain.history.meters import Meters
from brain.plumbing import Ctx, ended
from kernel.clock import NS
from kernel.ids import BootId, NodeId
from kernel.wire.agent import Beat, BeatAnswer, GpuSpans, HostReading, LeaseSeen

ROWS_MAX = 200_000
BATCH_ROWS_MAX = 20_000
SERIES_KEPT = 300_000
COUNTERS_KEPT = 200_000
LATE_S = HOUR_S  # older rows are not taken: their raw hour may be dropped before it is rolled again
RATE_NS_MAX = 120 * NS  # between two looks at a worker's counters, for a rate to mean anything
RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
CACHE = "vllm:kv_cache_usage_perc"
COUNTERS = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")

Row = tuple[int, ...]  # as in ``models.COLUMNS``
_log = structlog.get_logger()
_AWAY = (SQLAlchemyError, OSError, TimeoutError)


@dataclass(frozen=True)
class Batch:
    """Rows of one minute that are written together or not at all, once."""

    batch_id: str
    minute_s: int
    rows: tuple[Row, ...]


@dataclass
class HistoryPart:
    """A ``BeatPart``. ``flush`` may be called by tests in the place of its own loop."""

    ctx: Ctx
    meters: Meters
    rows: list[Row] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    _series: dict[tuple[str, ...], int] = field(default_factory=dict)
    _counted: dict[str, tuple[int, tuple[float, ...]]] = field(default_factory=dict)
    _waiting: int = 0  # rows in batches
    _task: asyncio.Task[None] | None = None
    _flushing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def beat(self, node_id: NodeId, beat: Beat, answer: BeatAnswer, now_ns: int) -> None:
        self.meters.beats.inc()
        held = len(self.rows) + self._waiting
        if held + len(beat.gpus) + len(beat.leases) + 1 > ROWS_MAX:
            self.meters.lost.inc(len(beat.gpus) + len(beat.leases) + 1)
            return
        at_s = now_ns // NS
        at_s -= at_s % TEN_SECONDS
        node = str(node_id)
        self._add(at_s, _host(beat.host), Kind.NODE, node)
        for gpu in beat.gpus:
            if gpu.spans is not None:  # else nothing new was read, as while the driver hangs
                self._add(at_s, _gpu(gpu.spans), Kind.GPU, node, gpu.uuid)
        for lease in beat.leases:
            if lease.metrics:
                self._add(at_s, self._worker(lease, now_ns), Kind.WORKER, node, lease.lease_id)

    async def start(self) -> None:
        self._task = asyncio.create_task(self._every_ten_seconds(), name="history")

    async def stop(self) -> None:
        """Write what has gathered, if the database takes it now."""
        await ended(self._task)
        with suppress(*_AWAY):
            await self.flush()

    async def flush(self) -> None:
        """Write everything; what could not be written is kept for the next time."""
        async with self._flushing:
            await self._flush()

    async def _flush(self) -> None:
        self._cut()
        now_s = self.ctx.clock.now_ns() // NS
        fresh = [batch for batch in self.batches if batch.minute_s >= now_s - LATE_S]
        self.meters.lost.inc(_rows(self.batches) - _rows(fresh))
        self.batches = fresh
        self._waiting = _rows(fresh)
        while self.batches:
            batch = self.batches[0]
            try:
                await store.write(self.ctx, batch.batch_id, batch.minute_s, batch.rows)
                self.meters.written.inc(len(batch.rows))
            except store.Refused as refused:
                self.meters.lost.inc(len(batch.rows))
                _log.error("history_refused", rows=len(batch.rows), failure=str(refused))
            self.batches.pop(0)
            self._waiting -= len(batch.rows)
        self.meters.flushed(self.ctx.clock.now_ns())

    def _cut(self) -> None:
        """The gathered rows as batches, each of one minute."""
        rows, self.rows = self.rows, []
        minutes: dict[int, list[Row]] = {}
        for row in rows:
            minutes.setdefault(row[1] - row[1] % MINUTE_S, []).append(row)
        for minute_s, own in sorted(minutes.items()):
            for first in range(0, len(own), BATCH_ROWS_MAX):
                part = tuple(own[first : first + BATCH_ROWS_MAX])
                self.batches.append(Batch(str(self.ctx.ids.new(BootId)), minute_s, part))
        for lease_id, (seen_ns, _) in list(self._counted.items()):
            if self.ctx.clock.now_ns() - seen_ns > DAY_S * NS:
                del self._counted[lease_id]

    def _add(self, at_s: int, slots: Sequence[Numbers], kind: Kind, *names: str) -> None:
        key = (kind, *names)
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= SERIES_KEPT:
                self._series.clear()
            series = self._series[key] = series_of(kind, *names)
        row = row_of(series, at_s, slots)
        if row is not None:
            self.rows.append(row)

    def _worker(self, lease: LeaseSeen, now_ns: int) -> list[Numbers]:
        told = lease.metrics
        counters = tuple(told.get(name, -1.0) for name in COUNTERS)
        before = self._counted.get(lease.lease_id)
        if before is not None or len(self._counted) < COUNTERS_KEPT:
            self._counted[lease.lease_id] = (now_ns, counters)
        prompt, generation = _rates(before, counters, now_ns)
        return [
            of_value(told.get(RUNNING), 1000),
            of_value(told.get(WAITING), 1000),
            of_value(told.get(CACHE), 1_000_000),
            prompt,
            generation,
        ]

    async def _every_ten_seconds(self) -> None:
        while True:
            await self.ctx.clock.sleep(TEN_SECONDS)
            try:
                await self.flush()
            except _AWAY as failure:
                self.meters.failures.inc()
                _log.warning("history_not_written", failure=type(failure).__name__)


def _gpu(told: GpuSpans) -> list[Numbers]:
    return [
        of_span(told.utilisation_percent),
        of_span(told.memory_mib),
        of_span(told.power_mw),
        of_span(told.temperature_c),
        of_span(told.sm_clock_mhz),
    ]


def _host(host: HostReading) -> list[Numbers]:
    return [
        of_value(host.cpu_percent, 1000),
        of_value(host.memory_used_mib),
        of_value(host.net_rx_kib_s),
        of_value(host.net_tx_kib_s),
        of_value(host.disk_free_mib),
    ]


def _rates(
    before: tuple[int, tuple[float, ...]] | None, counters: tuple[float, ...], now_ns: int
) -> list[Numbers]:
    """Tokens a second since the last look, in thousandths. A counter that went back (the worker
    was started anew) tells none."""
    if before is None or not 0 < now_ns - before[0] <= RATE_NS_MAX:
        return [NO_NUMBERS] * len(counters)
    seconds = (now_ns - before[0]) / NS
    return [
        of_value((now - then) / seconds, 1000) if 0 <= then <= now else NO_NUMBERS
        for now, then in zip(counters, before[1], strict=True)
    ]


def _rows(batches: Sequence[Batch]) -> int:
    return sum(len(batch.rows) for batch in batches)


assert len(GpuSpans.__struct_fields__) == SLOTS, "a GPU's row has a slot for each span"
