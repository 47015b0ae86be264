"""What beats bring becomes rows; a database that is away costs samples, never beats."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from brain.history import HistoryPart, Meters, gather, store
from brain.history.core import Fold, Kind, series_of
from brain.history.store import Want
from brain.plumbing import Ctx, Db
from kernel.clock import NS, ManualClock
from kernel.ids import NodeId, SeededIds
from kernel.wire.agent import (
    Beat,
    BeatAnswer,
    GpuReading,
    GpuSpans,
    LeaseSeen,
    LeaseSeenState,
    NvmlState,
    Span,
)
from tests.support.fleet import gpu, host

pytestmark = pytest.mark.feature("C3")
NODE = NodeId("node_" + "1" * 32)
ANSWER = BeatAnswer(generation=1)


def beat(*gpus: GpuReading, metrics: dict[str, float] | None = None) -> Beat:
    lease = LeaseSeen("lease_1", 1, LeaseSeenState.READY, metrics=metrics or {})
    return Beat(
        node_id=str(NODE),
        host_boot_id="boot",
        generation=1,
        nvml=NvmlState.OK,
        gpus=list(gpus),
        host=host(),
        leases=[lease] if metrics else [],
    )


def used(uuid: str, percent: int) -> GpuReading:
    """One reading since the last beat."""
    return gpu(uuid, spans=GpuSpans(Span(1, percent, percent, percent)))


class Scene:
    """A part over a database, and what is kept of a series."""

    def __init__(self, ctx: Ctx) -> None:
        self.ctx = ctx
        self.registry = CollectorRegistry()
        self.part = HistoryPart(ctx, Meters(self.registry))

    def told(self, *gpus: GpuReading, **more: Any) -> None:
        self.part.beat(NODE, beat(*gpus, **more), ANSWER, self.ctx.clock.now_ns())

    def count(self, name: str) -> float:
        return self.registry.get_sample_value(f"ganglion_{name}_total") or 0.0

    async def slots(self, kind: Kind, *names: str) -> list[Fold]:
        """All that is kept of it, in one bucket."""
        want = Want(series_of(kind, str(NODE), *names), 0, 2**40)
        async with self.ctx.db.begin() as tx:
            (found,) = await store.read(tx, [want], base_s=10, step_s=2**40)
        return found.get(0, [])


@pytest.fixture
def scene(ctx: Ctx) -> Scene:
    return Scene(ctx)


async def test_spans_are_kept_with_their_peaks(scene: Scene) -> None:
    spans = GpuSpans(Span(2, 110, 10, 100), power_mw=Span(2, 900_000, 400_000, 500_000))
    scene.told(gpu("GPU-a", utilisation_percent=10, spans=spans))
    await scene.part.flush()
    use, memory, power, _, _ = await scene.slots(Kind.GPU, "GPU-a")
    assert (use, power) == (Fold(2, 110, 10, 100), Fold(2, 900_000, 400_000, 500_000))
    assert memory == Fold()


async def test_a_reading_that_was_told_before_is_not_counted_again(scene: Scene) -> None:
    """As in every beat while the driver hangs: the newest reading is still the old one."""
    scene.told(gpu("GPU-a", utilisation_percent=42, temperature_c=60))
    await scene.part.flush()
    assert await scene.slots(Kind.GPU, "GPU-a") == []


async def test_what_a_strangers_agent_makes_up_does_not_spoil_the_batch(scene: Scene) -> None:
    wild = GpuSpans(Span(1, 2**53, 2**53, 2**53), Span(5, 1, 7, 3), Span(10_000, 5, 0, 1))
    scene.told(used("GPU-a", 5), gpu("GPU-b", spans=wild))
    await scene.part.flush()
    assert (await scene.slots(Kind.GPU, "GPU-a"))[0] == Fold(1, 5, 5, 5)
    assert [one.n for one in await scene.slots(Kind.GPU, "GPU-b")] == [0, 0, 10_000, 0, 0]


async def test_a_worker_without_counters_has_no_rate(scene: Scene, clock: ManualClock) -> None:
    for _ in range(3):
        scene.told(metrics={"vllm:num_requests_running": 1.0})
        clock.advance(10)
    await scene.part.flush()
    assert [one.n for one in await scene.slots(Kind.WORKER, "lease_1")] == [3, 0, 0, 0, 0]


async def test_tokens_a_second_come_from_counters_over_time(
    scene: Scene, clock: ManualClock
) -> None:
    names = ("vllm:prompt_tokens_total", "vllm:generation_tokens_total")
    for prompt, generation in ((100, 0), (600, 50), (0, 0), (10, 20)):  # started anew in between
        gauges = {"vllm:num_requests_running": 3.0, "vllm:kv_cache_usage_perc": 0.5}
        scene.told(metrics={**gauges, **dict(zip(names, (prompt, generation), strict=True))})
        clock.advance(10)
    await scene.part.flush()
    running, waiting, cache, prompts, generations = await scene.slots(Kind.WORKER, "lease_1")
    assert (running, waiting) == (Fold(4, 12_000, 3000, 3000), Fold())
    assert (cache.mean, prompts, generations.high) == (
        500_000,
        Fold(2, 51_000, 1000, 50_000),
        5000,
    )


async def test_a_lost_gpu_is_a_gap(scene: Scene) -> None:
    scene.told(gpu("GPU-a", lost=True))
    await scene.part.flush()
    assert await scene.slots(Kind.GPU, "GPU-a") == []


async def test_a_database_that_is_away_costs_no_beat_and_its_return_no_sample(
    scene: Scene, ctx: Ctx, clock: ManualClock
) -> None:
    away = Db("postgresql://nobody@127.0.0.1:1/none")
    lost = Scene(Ctx(db=away, clock=clock, ids=SeededIds(clock, 1)))
    for _ in range(3):
        lost.told(used("GPU-a", 7))
        with pytest.raises(OSError):
            await lost.part.flush()
        clock.advance(10)
    lost.part.ctx = ctx  # it is back
    await lost.part.flush()
    await away.close()
    assert (await scene.slots(Kind.GPU, "GPU-a"))[0] == Fold(3, 21, 7, 7)
    assert (lost.count("beats"), lost.count("history_rows_lost")) == (3, 0)


async def test_what_is_kept_for_a_database_is_bounded_and_losses_are_counted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "ROWS_MAX", 10)
    for _ in range(10):
        scene.told(used("GPU-a", 1), used("GPU-b", 1))
    assert len(scene.part.rows) <= 10
    assert scene.count("beats") == 10
    assert scene.count("history_rows_lost") + len(scene.part.rows) == 30


async def test_rows_that_waited_too_long_are_given_up_and_counted(
    scene: Scene, clock: ManualClock
) -> None:
    scene.told(used("GPU-a", 1))
    clock.advance(gather.LATE_S + 60)
    await scene.part.flush()
    assert (scene.count("history_rows_lost"), scene.count("history_rows")) == (2, 0)


async def test_rows_that_the_database_refuses_do_not_stop_the_others(scene: Scene) -> None:
    scene.told(used("GPU-a", 1))
    scene.part.rows.append((1, scene.part.rows[0][1] - 60, *([2**63] * 20)))
    await scene.part.flush()
    assert (scene.count("history_rows_lost"), scene.count("history_rows")) == (1, 2)


async def test_batches_hold_one_minute_each(scene: Scene, clock: ManualClock) -> None:
    clock.set_wall(clock.now_ns() // (60 * NS) * 60 * NS + 55 * NS)
    for _ in range(2):
        scene.told(used("GPU-a", 1))
        clock.advance(10)
    await scene.part.flush()
    async with scene.ctx.db.begin() as tx:
        found = await tx.execute(text("SELECT minute_s, rows FROM history_flush ORDER BY 1"))
        assert [row.rows for row in found] == [2, 2]
