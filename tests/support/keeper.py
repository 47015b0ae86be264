"""Keeps one server for a whole test run: ``python -m tests.support.keeper KIND FOLDER PID``.

Its own process, because the xdist worker that asks first may end first. It watches the run's
first process (PID) and takes the server and the folder away when that one is gone, however it
went.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import psutil

from cli.embedded import Postgres, Valkey

# A crash may cost the data of a test run: nothing of it is kept.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "128MB",
    "min_wal_size": "32MB",
}
DATABASES = 10_000
MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 4 << 30  # free, for the databases of all tests that run at once and some


def home_folder(kind: str) -> Path:
    """In memory where there is room: a copy of the template takes 0.03 s there, on a disk 0.6 s.

    The sockets need a short path, which pytest's own folders are not.
    """
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES_MIN
    roomy = roomy and psutil.virtual_memory().available > MEMORY_BYTES_MIN
    return Path(tempfile.mkdtemp(prefix=f"ganglion-{kind}-", dir=MEMORY if roomy else "/tmp"))


async def keep(kind: str, folder: Path, pid: int) -> None:
    """Start the server, write its address to ``folder/url``, and hold it until ``pid`` ends."""
    home = home_folder(kind)
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, gone.set)
    watched = os.pidfd_open(pid)
    loop.add_reader(watched, gone.set)
    log = os.open(folder / f"{kind}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    server: Postgres | Valkey = (
        Postgres(home, settings=FAST, log=log)
        if kind == "postgres"
        else Valkey(home, databases=DATABASES, log=log)
    )
    try:
        await server.start()
        pending = folder / f"{kind}.url.new"
        pending.write_text(server.url())
        pending.rename(folder / f"{kind}.url")
        await gone.wait()
    finally:
        await server.stop()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    asyncio.run(keep(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
