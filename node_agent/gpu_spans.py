"""Pure: lowest, highest and sum of each GPU's readings between two beats."""

from __future__ import annotations

from collections.abc import Iterable

from kernel.wire.agent import GpuReading, GpuSpans, Span

READINGS_MAX = 10_000  # of one span, as the wire allows: at 5 s some 14 hours without a brain


class SpanBook:
    """Gathers readings. What was told counts as told only once the brain has answered: until
    then it goes into the next beat again, so that a lost beat loses no peak."""

    def __init__(self) -> None:
        self._open: dict[str, GpuSpans] = {}
        self._sent: dict[str, GpuSpans] = {}

    def add(self, gpus: Iterable[GpuReading]) -> None:
        for gpu in gpus:
            if not gpu.lost and not gpu.simulated:
                self._open[gpu.uuid] = merged(self._open.get(gpu.uuid), of_reading(gpu))

    def tell(self) -> dict[str, GpuSpans]:
        """Everything since the last answer, by UUID."""
        for uuid, spans in self._open.items():
            self._sent[uuid] = merged(self._sent.get(uuid), spans)
        self._open = {}
        return self._sent

    def told(self) -> None:
        """The brain has what ``tell`` gave last."""
        self._sent = {}


def of_reading(gpu: GpuReading) -> GpuSpans:
    return GpuSpans(
        utilisation_percent=_one(gpu.utilisation_percent),
        memory_mib=_one(gpu.memory_used_mib),
        power_mw=_one(gpu.power_mw),
        temperature_c=_one(gpu.temperature_c),
        sm_clock_mhz=_one(gpu.sm_clock_mhz),
    )


def merged(first: GpuSpans | None, second: GpuSpans) -> GpuSpans:
    """Both together: counts and sums add, bounds are the outer ones."""
    if first is None:
        return second
    return GpuSpans(
        *(_both(getattr(first, name), getattr(second, name)) for name in GpuSpans.__struct_fields__)
    )


def _one(value: int | None) -> Span | None:
    return None if value is None or value < 0 else Span(1, value, value, value)


def _both(first: Span | None, second: Span | None) -> Span | None:
    if first is None or second is None:
        return first or second
    if first.n + second.n > READINGS_MAX:
        return second  # so long without a brain that the old is of no more use
    return Span(
        first.n + second.n,
        first.total + second.total,
        min(first.low, second.low),
        max(first.high, second.high),
    )
