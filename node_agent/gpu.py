"""The GPUs of this node: the Protocol, and simulated ones for machines without any."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kernel.wire.agent import GpuReading, NvmlState

SIMULATED_MEMORY_MIB = 24_576
SIMULATED_NAME = "Simulated GPU 24 GB"


@dataclass(frozen=True)
class GpuProcess:
    """Who computes on a GPU, as the host's NVML tells. ``mib`` None: it does not tell."""

    pid: int
    mib: int | None = None


@dataclass(frozen=True)
class GpuView:
    """One reading. ``read_ns`` is the boot clock before the reading was begun."""

    state: NvmlState
    gpus: tuple[GpuReading, ...] = ()
    read_ns: int = 0
    driver_version: str | None = None
    reason: str = field(default="", compare=False)
    processes: Mapping[str, tuple[GpuProcess, ...]] = field(default_factory=dict)  # by UUID


class Gpus(Protocol):
    async def read(self) -> GpuView:
        """The GPUs now. Never raises, and returns within its deadline."""
        ...

    async def close(self) -> None: ...


class SimulatedGpus:
    """GPUs that do not exist, and say so in every view.

    Their UUIDs are made from the node's own key, so that they are the same after a restart and
    never the same on two nodes.
    """

    def __init__(self, count: int, *, seed: str, boot_ns: Callable[[], int]) -> None:
        self._boot_ns = boot_ns
        self._gpus = tuple(
            GpuReading(
                uuid=simulated_uuid(seed, index),
                name=SIMULATED_NAME,
                memory_total_mib=SIMULATED_MEMORY_MIB,
                simulated=True,
            )
            for index in range(count)
        )

    async def read(self) -> GpuView:
        return GpuView(NvmlState.SIMULATED, self._gpus, self._boot_ns())

    async def close(self) -> None:
        return None


def simulated_uuid(seed: str, index: int) -> str:
    digest = hashlib.sha256(f"ganglion-simulated-gpu\n{seed}\n{index}".encode()).hexdigest()
    return f"SIM-{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


def is_simulated(uuid: str) -> bool:
    return uuid.startswith("SIM-")
