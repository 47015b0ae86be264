"""What the machine under the GPUs looks like, by psutil."""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable
from pathlib import Path

import psutil
from msgspec.structs import replace

from kernel.clock import NS
from kernel.wire.agent import HostReading

KIB = 1 << 10
MIB = 1 << 20
# What passes through them passes through the machine's own interface too, or never leaves it.
INNER_INTERFACES = ("lo", "docker", "br-", "veth", "virbr", "cni", "flannel")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """The host's boot, the same for every process until the machine restarts."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return f"boot-{int(psutil.boot_time())}"


def read_host(
    home: Path, *, engine: str, engine_version: str | None, driver_version: str | None
) -> HostReading:
    """Costs about a millisecond; never blocks on a device."""
    memory = psutil.virtual_memory()
    disk = psutil.disk_usage(str(home))
    return HostReading(
        hostname=socket.gethostname()[:200] or "unknown",
        os=_system_name(),
        cpu_count=psutil.cpu_count() or 1,
        cpu_percent=psutil.cpu_percent(interval=None),
        memory_total_mib=memory.total // MIB,
        memory_used_mib=(memory.total - memory.available) // MIB,
        disk_total_mib=disk.total // MIB,
        disk_free_mib=disk.free // MIB,
        load_1m=round(psutil.getloadavg()[0], 2),
        driver_version=driver_version,
        engine=engine,
        engine_version=engine_version,
    )


class HostMeter:
    """The figures that take two looks, or places that not every machine has."""

    def __init__(self, boot_ns: Callable[[], int], docker_root: Path | None = None) -> None:
        self._boot_ns = boot_ns
        self._docker_root = docker_root
        self._at_ns = boot_ns()
        self._received, self._sent = _network_bytes()

    def read(self, host: HostReading) -> HostReading:
        """``host`` with them. Costs about a millisecond; never blocks on a device."""
        now_ns = self._boot_ns()
        received, sent = _network_bytes()
        rates = [
            max(now - before, 0) * NS // max(now_ns - self._at_ns, 1) // KIB
            for now, before in ((received, self._received), (sent, self._sent))
        ]
        self._at_ns, self._received, self._sent = now_ns, received, sent
        _, load_5m, load_15m = psutil.getloadavg()
        swap = psutil.swap_memory()
        total, free = self._docker_disk()
        return replace(
            host,
            load_5m=round(load_5m, 2),
            load_15m=round(load_15m, 2),
            swap_total_mib=swap.total // MIB,
            swap_used_mib=swap.used // MIB,
            docker_disk_total_mib=total,
            docker_disk_free_mib=free,
            net_rx_kib_s=rates[0],
            net_tx_kib_s=rates[1],
            uptime_seconds=now_ns // NS,
        )

    def _docker_disk(self) -> tuple[int, int]:
        """MiB in all and free; zeros where there is no such folder."""
        if self._docker_root is None:
            return 0, 0
        try:
            disk = psutil.disk_usage(str(self._docker_root))
        except OSError:
            return 0, 0
        return disk.total // MIB, disk.free // MIB


def _network_bytes() -> tuple[int, int]:
    """Received and sent over the machine's own interfaces."""
    every = psutil.net_io_counters(pernic=True)
    own = [one for name, one in every.items() if not name.startswith(INNER_INTERFACES)]
    return sum(one.bytes_recv for one in own), sum(one.bytes_sent for one in own)


def _system_name() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    return (name or f"{platform.system()} {platform.release()}")[:200]
