"""What a container uses, from one cheap sample of Docker's statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kernel.wire.agent import WorkUsage

MIB = 1 << 20


@dataclass(frozen=True)
class CpuSample:
    """Two of them give a share. Nanoseconds: of CPU time used, and of the host's clock."""

    used_ns: int
    at_ns: int


def usage_of(
    stats: Mapping[str, Any], at_ns: int, limit_mib: int, before: CpuSample | None
) -> tuple[WorkUsage, CpuSample]:
    """``limit_mib`` is the lease's own: Docker shows the host's memory where there is none."""
    cpu = CpuSample(int(_in(stats, "cpu_stats", "cpu_usage", "total_usage")), at_ns)
    memory = stats.get("memory_stats") or {}
    details = memory.get("stats") or {}
    cache = details.get("inactive_file", details.get("total_inactive_file", 0))
    used = max(int(memory.get("usage") or 0) - int(cache or 0), 0)
    networks = list((stats.get("networks") or {}).values())
    blocks = (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    usage = WorkUsage(
        cpu_percent=_share(before, cpu),
        memory_used_mib=used // MIB,
        memory_limit_mib=limit_mib,
        net_rx_bytes=sum(int(one.get("rx_bytes", 0)) for one in networks),
        net_tx_bytes=sum(int(one.get("tx_bytes", 0)) for one in networks),
        block_read_bytes=_blocks(blocks, "read"),
        block_write_bytes=_blocks(blocks, "write"),
        pids=int((stats.get("pids_stats") or {}).get("current") or 0),
    )
    return usage, cpu


def _share(before: CpuSample | None, now: CpuSample) -> float:
    if before is None or now.at_ns <= before.at_ns or now.used_ns < before.used_ns:
        return 0.0
    return round((now.used_ns - before.used_ns) / (now.at_ns - before.at_ns) * 100, 1)


def _blocks(entries: list[Mapping[str, Any]], kind: str) -> int:
    return sum(int(one["value"]) for one in entries if str(one.get("op", "")).lower() == kind)


def _in(tree: Mapping[str, Any], *path: str) -> Any:
    found: Any = tree
    for name in path:
        found = (found or {}).get(name)
    return found or 0
