"""A stand-in NVML library, so that the real nvidia-ml-py reads GPUs that a test describes."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("stub.c")


@dataclass(frozen=True)
class StubGpu:
    uuid: str
    total_mib: int = 81_559
    used_mib: int = 0
    processes: int = 0
    lost: bool = False
    degrees: int = 41


@dataclass
class StubNvml:
    """The library's folder and its state; each setter is seen at the library's next call."""

    folder: Path
    gpus: list[StubGpu] = field(default_factory=list)
    hang: bool = False
    absent: bool = False

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

    def _write(self) -> None:
        lines = [f"hang {int(self.hang)}", f"absent {int(self.absent)}"]
        lines += [
            f"gpu {g.uuid} {g.total_mib} {g.used_mib} {g.processes} {int(g.lost)} {g.degrees}"
            for g in self.gpus
        ]
        draft = self.folder / "state.draft"
        draft.write_text("\n".join(lines) + "\n")
        draft.rename(self.folder / "state")


def build_stub(folder: Path) -> StubNvml:
    """Compile the library into ``folder``; skips where there is no C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine for the NVML stand-in")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [
            compiler,
            "-shared",
            "-fPIC",
            "-O1",
            "-Wl,-soname,libnvidia-ml.so.1",
            "-o",
            str(library),
            str(SOURCE),
        ],
        check=True,
        timeout=60,
    )
    stub = StubNvml(folder)
    stub.put(StubGpu("GPU-a"), StubGpu("GPU-b"))
    return stub
