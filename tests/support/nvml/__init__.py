"""A stand-in NVML library, so that the real nvidia-ml-py reads GPUs that a test describes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("stub.c")
# What a healthy card tells when nothing else is said; names as in the library's source.
USUAL: Mapping[str, int] = {
    "memory_use": 10,
    "power": 350_000,
    "power_limit": 700_000,
    "power_default": 700_000,
    "energy": 123_456_789,
    "sm_clock": 1980,
    "sm_clock_max": 1980,
    "memory_clock": 2619,
    "memory_clock_max": 2619,
    "throttle": 4,
}


@dataclass(frozen=True)
class StubGpu:
    """``tells`` adds to what it tells; None takes a name away: "not supported"."""

    uuid: str
    total_mib: int = 81_559
    used_mib: int = 0
    processes: int = 0
    lost: bool = False
    degrees: int = 41
    tells: Mapping[str, int | None] = field(default_factory=dict)

    def line(self) -> str:
        values: dict[str, int | None] = {
            **USUAL,
            "total": self.total_mib,
            "used": self.used_mib,
            "processes": self.processes,
            "lost": int(self.lost),
            "degrees": self.degrees,
            "utilisation": 50 if self.processes else 0,
            **self.tells,
        }
        told = " ".join(f"{name}={v}" for name, v in values.items() if v is not None)
        return f"gpu {self.uuid} {told}"


@dataclass
class StubNvml:
    """The library's folder and its state; each setter is seen at the library's next call."""

    folder: Path
    gpus: list[StubGpu] = field(default_factory=list)
    hang: bool = False
    absent: bool = False
    xids: list[tuple[str, int]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_LIBRARY_PATH": str(self.folder),
            "NVML_STUB_STATE": str(self.folder / "state"),
        }

    def say(self, *, hang: bool | None = None, absent: bool | None = None) -> None:
        self.hang = self.hang if hang is None else hang
        self.absent = self.absent if absent is None else absent
        self._write()

    def put(self, *gpus: StubGpu) -> None:
        self.gpus = list(gpus)
        self._write()

    def change(self, uuid: str, **changes: object) -> None:
        self.put(*(replace(g, **changes) if g.uuid == uuid else g for g in self.gpus))  # type: ignore[arg-type]

    def tell(self, uuid: str, **tells: int | None) -> None:
        """Change some of what a card tells, and keep the rest."""
        (known,) = (gpu for gpu in self.gpus if gpu.uuid == uuid)
        self.change(uuid, tells={**known.tells, **tells})

    def raise_xid(self, uuid: str, number: int) -> None:
        self.xids.append((uuid, number))
        self._write()

    def _write(self) -> None:
        lines = [f"hang {int(self.hang)}", f"absent {int(self.absent)}"]
        lines += [f"xid {uuid} {number}" for uuid, number in self.xids]
        lines += [gpu.line() for gpu in self.gpus]
        draft = self.folder / "state.draft"
        draft.write_text("\n".join(lines) + "\n")
        draft.rename(self.folder / "state")


def build_stub(folder: Path, *, age: str = "") -> StubNvml:
    """Compile the library into ``folder``; skips where there is no C compiler.

    ``age``: "OLD" lacks functions that came later, "NEWEST" those that were deprecated.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine for the NVML stand-in")
    library = folder / "libnvidia-ml.so.1"
    defined = [f"-D{age}"] if age else []
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([*command, *defined, "-o", str(library), str(SOURCE)], check=True, timeout=60)
    stub = StubNvml(folder)
    stub.put(StubGpu("GPU-a"), StubGpu("GPU-b"))
    return stub
