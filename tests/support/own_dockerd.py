"""A daemon for one test, to be killed or fitted out; the run's own stays as it is."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.dockerd import Dockerd, make_bridge, remove_bridge


@contextmanager
def own_daemon(
    folder: Path,
    *,
    live_restore: bool = False,
    programs: Path | None = None,
    network: str | None = None,
) -> Iterator[Dockerd]:
    """Started, and gone with all its containers at the end. Its log lies in ``folder``.

    In a network namespace of its own it has no default bridge, and its own firewall rules. Its
    networks take other addresses than those of daemons that run beside it: each daemon knows of its
    own alone, and two bridges of one address would answer for each other.
    """
    bridge = None if network else f"gngl{os.getpid()}"
    log = os.open(folder / "dockerd.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    home = Path(tempfile.mkdtemp(prefix="gng-own-", dir="/tmp"))
    if bridge:
        make_bridge(bridge, f"172.30.{os.getpid() % 250 + 1}.1")
    server = Dockerd(
        home,
        bridge=bridge,
        log=log,
        live_restore=live_restore,
        programs=programs,
        network=network,
        addresses=f"base=10.202.{os.getpid() % 16 * 16}.0/20,size=26",
    )
    try:
        server.start()
        yield server
        server.sweep()  # with live-restore containers outlive the daemon
    finally:
        server.stop()
        if bridge:
            remove_bridge(bridge)
        server.remove()
        os.close(log)
