"""The child process that alone talks to NVML, so that a hung driver hangs nobody else.

It answers each line on stdin with one line of JSON on stdout, and ends with its parent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pynvml
from msgspec import Struct

from kernel.wire.agent import GpuReading

MIB = 1 << 20


class ChildAnswer(Struct):
    """``absent`` tells why there is nothing to read; empty = it was read."""

    absent: str = ""
    driver_version: str = ""
    gpus: list[GpuReading] = []


class Nvml:
    """One session with the library; remembers who was at which index."""

    def __init__(self) -> None:
        self._open = False
        self._known: dict[int, GpuReading] = {}

    def read(self) -> ChildAnswer:
        try:
            if not self._open:
                pynvml.nvmlInit()
                self._open = True
            count = int(pynvml.nvmlDeviceGetCount())
            driver = _text(pynvml.nvmlSystemGetDriverVersion())
        except pynvml.NVMLError as error:
            self._close()
            return ChildAnswer(absent=str(error))
        readings = [self._gpu(index) for index in range(count)]
        return ChildAnswer("", driver, [reading for reading in readings if reading is not None])

    def _gpu(self, index: int) -> GpuReading | None:
        try:
            reading = _read(pynvml.nvmlDeviceGetHandleByIndex(index))
        except pynvml.NVMLError:
            known = self._known.get(index)
            return msgspec.structs.replace(known, lost=True) if known is not None else None
        self._known[index] = reading
        return reading

    def _close(self) -> None:
        if self._open:
            _asked(pynvml.nvmlShutdown)
        self._open = False


def _read(handle: Any) -> GpuReading:
    """One GPU. What a card does not support is left out; a lost card raises."""
    memory = _memory(handle)
    use = _asked(pynvml.nvmlDeviceGetUtilizationRates, handle)
    volatile, uncorrected = (
        pynvml.NVML_VOLATILE_ECC,
        pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
    )
    return GpuReading(
        uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
        name=_text(pynvml.nvmlDeviceGetName(handle)),
        memory_total_mib=int(memory.total) // MIB,
        memory_used_mib=int(memory.used) // MIB,
        utilisation_percent=min(int(use.gpu), 100) if use is not None else None,
        temperature_c=_asked(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        power_mw=_asked(pynvml.nvmlDeviceGetPowerUsage, handle),
        power_limit_mw=_asked(pynvml.nvmlDeviceGetEnforcedPowerLimit, handle),
        energy_mj=_asked(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle),
        sm_clock_mhz=_asked(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
        memory_clock_mhz=_asked(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
        throttle_reasons=_asked(pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle),
        ecc_uncorrected=_asked(pynvml.nvmlDeviceGetTotalEccErrors, handle, uncorrected, volatile),
        process_count=len(_asked(pynvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()),
    )


def _memory(handle: Any) -> Any:
    """Version 2 tells used memory without what the driver reserves; old drivers have 1 only."""
    found = _asked(pynvml.nvmlDeviceGetMemoryInfo, handle, version=pynvml.nvmlMemory_v2)
    return found if found is not None else pynvml.nvmlDeviceGetMemoryInfo(handle)


def _asked(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """The answer, or None where this card or driver cannot tell. A lost GPU is passed on."""
    try:
        return call(*arguments, **named)
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_GPU_IS_LOST:
            raise
        return None


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


def main() -> None:
    nvml = Nvml()
    for _ in sys.stdin.buffer:
        sys.stdout.buffer.write(msgspec.json.encode(nvml.read()) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
