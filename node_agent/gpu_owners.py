"""Whose are the processes on a GPU: of our work, or somebody else's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace as with_fields
from pathlib import Path

from msgspec.structs import replace

from kernel.wire.agent import GpuReading
from node_agent.gpu import GpuProcess, GpuView
from node_agent.records import Work

PROC = Path("/proc")
ANCESTORS_MAX = 32
_CONTAINER = re.compile(r"[0-9a-f]{64}")


def attributed(view: GpuView, works: Iterable[Work], proc: Path = PROC) -> GpuView:
    """The view with each GPU's processes counted as ours or foreign.

    A process that is not in ``/proc`` (it ended, or this is another process namespace) counts as
    neither: nothing is claimed of it.
    """
    if not any(view.processes.values()):
        return view
    refs = {work.ref for work in works}
    containers = {ref for ref in refs if _CONTAINER.fullmatch(ref)}
    roots = {int(ref.partition(":")[0]) for ref in refs - containers if ref[:1].isdigit()}
    owned: dict[int, bool | None] = {}
    gpus = []
    for gpu in view.gpus:
        found = view.processes.get(gpu.uuid, ())
        for process in found:
            if process.pid not in owned:
                owned[process.pid] = _ours(process.pid, containers, roots, proc)
        gpus.append(_counted(gpu, found, owned) if found else gpu)
    return with_fields(view, gpus=tuple(gpus))


def _counted(
    gpu: GpuReading, found: tuple[GpuProcess, ...], owned: dict[int, bool | None]
) -> GpuReading:
    ours = [process for process in found if owned[process.pid]]
    foreign = [process for process in found if owned[process.pid] is False]
    return replace(
        gpu,
        foreign_process_count=len(foreign),
        our_memory_mib=_memory(ours),
        foreign_memory_mib=_memory(foreign),
    )


def _memory(processes: list[GpuProcess]) -> int | None:
    """None where the driver does not tell it of one of them."""
    sizes = [process.mib for process in processes]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def _ours(pid: int, containers: set[str], roots: set[int], proc: Path) -> bool | None:
    """Whether it runs in a container of ours or descends from a process of ours."""
    try:
        groups = (proc / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    if containers and containers & set(_CONTAINER.findall(groups)):
        return True
    current: int | None = pid
    for _ in range(ANCESTORS_MAX if roots else 0):
        if current is None or current <= 1:
            break
        if current in roots:
            return True
        current = _parent(current, proc)
    return False


def _parent(pid: int, proc: Path) -> int | None:
    try:
        stat = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None
