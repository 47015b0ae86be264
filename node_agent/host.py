"""What the machine under the GPUs looks like, by psutil."""

from __future__ import annotations

import platform
import socket
from pathlib import Path

import psutil

from kernel.wire.agent import HostReading

MIB = 1 << 20
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


def _system_name() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    return (name or f"{platform.system()} {platform.release()}")[:200]
