"""What the agent measures beside the newest reading: spans between beats, and the host's rates."""

from __future__ import annotations

from msgspec.structs import replace

from kernel.clock import Clock
from kernel.wire.agent import Beat, BeatAnswer, NvmlState
from node_agent.gpu import Gpus, GpuView
from node_agent.gpu_spans import SpanBook
from node_agent.host import HostMeter

REST_SECONDS = 3600.0  # it has nothing to do of its own


class Telemetry:
    """The GPUs' hand with its readings gathered, and this part's share of each beat."""

    def __init__(self, gpus: Gpus, meter: HostMeter, clock: Clock) -> None:
        self._gpus = gpus
        self._meter = meter
        self._clock = clock
        self._spans = SpanBook()
        self._read_ns = 0
        self._view = GpuView(NvmlState.ABSENT)

    async def read(self) -> GpuView:
        """As ``Gpus.read``; a reading that is new goes into the spans."""
        view = self._view = await self._gpus.read()
        if view.state is NvmlState.OK and view.read_ns != self._read_ns:
            self._read_ns = view.read_ns
            self._spans.add(view.gpus)
        return view

    async def close(self) -> None:
        await self._gpus.close()

    def tell(self, beat: Beat) -> None:
        spans = self._spans.tell()
        beat.gpus = [
            replace(gpu, spans=found) if (found := spans.get(gpu.uuid)) is not None else gpu
            for gpu in beat.gpus
        ]
        beat.host = replace(self._meter.read(beat.host), nvml_reason=self._view.reason[:300])

    def hear(self, answer: BeatAnswer, sent_ns: int) -> None:
        self._spans.told()

    async def run(self) -> None:
        while True:
            await self._clock.sleep(REST_SECONDS)
