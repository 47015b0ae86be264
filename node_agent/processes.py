"""Looking at processes by /proc: who they are, whose they are, and when they began."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

LEASE_VARIABLE = "GANGLION_LEASE"
PR_SET_PDEATHSIG = 1
_PROC = Path("/proc")


def start_ticks(pid: int) -> int | None:
    """When the process began, in ticks since boot; None when it is gone or a zombie.

    With the pid it names a process for one boot of the host, which a pid alone does not.
    """
    fields = _stat_fields(pid)
    if fields is None or fields[0] in ("Z", "X"):
        return None
    return int(fields[19])


def members(lease_id: str, leader_pid: int) -> list[int]:
    """Live processes of a lease: of its leader's session, or with its mark in the environment."""
    return [pid for pid in _pids() if _belongs(pid, lease_id, leader_pid)]


def find_leader(lease_id: str) -> int | None:
    """The session leader that carries the lease's mark."""
    for pid in _pids():
        if _marked(pid, lease_id) and session_of(pid) == pid:
            return pid
    return None


def signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def signal_one(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> Callable[[], None]:
    """A call for the child between fork and exec: it gets SIGKILL when its parent dies.

    The library is loaded here, in the parent, since loading after a fork is not safe.
    """
    library = ctypes.CDLL(None, use_errno=True)

    def ask() -> None:
        library.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)

    return ask


def _pids() -> Iterator[int]:
    own = os.getpid()
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and int(entry.name) != own:
            yield int(entry.name)


def _belongs(pid: int, lease_id: str, leader_pid: int) -> bool:
    if start_ticks(pid) is None:
        return False
    return (leader_pid > 0 and session_of(pid) == leader_pid) or _marked(pid, lease_id)


def session_of(pid: int) -> int | None:
    """The pid of the leader of its session; None when the process is gone."""
    fields = _stat_fields(pid)
    return int(fields[3]) if fields is not None else None


def _marked(pid: int, lease_id: str) -> bool:
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return f"{LEASE_VARIABLE}={lease_id}".encode() in environment.split(b"\0")


def _stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from the third on; the second may hold spaces."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
