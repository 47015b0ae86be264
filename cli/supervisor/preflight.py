"""What must hold before anything is started; each fault is one sentence and its remedy."""

from __future__ import annotations

import errno
import resource
import shutil
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from cli.faults import CliError

PYTHON_MIN = (3, 11)
DISK_BYTES_MIN = 512 * 1024 * 1024
OPEN_FILES_WANTED = 65_536


@dataclass(frozen=True)
class Listener:
    """An address that a part will listen on; ``setting`` names the variable that moves it."""

    part: str
    host: str
    port: int
    setting: str


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> None:
    if version[:2] < PYTHON_MIN:
        shown = ".".join(map(str, version))
        raise CliError(
            f"Ganglion needs Python 3.11 or newer and this is {shown}.",
            "Install a newer one (Debian 12: apt-get install python3 python3-venv).",
        )


def check_disk(free_bytes: int, folder: Path, least: int = DISK_BYTES_MIN) -> None:
    if free_bytes < least:
        raise CliError(
            f"The disk of {folder} is nearly full: {free_bytes >> 20} MiB are free and "
            f"{least >> 20} MiB are needed.",
            "Free some space, or set GANGLION_HOME to a folder on another disk.",
            code="disk_full",
        )


def check_port(listener: Listener) -> None:
    """Try to listen there for a moment."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as problem:
        raise CliError(_why_not(listener, problem), _instead(listener), code="port") from None


def check_different(listeners: list[Listener]) -> None:
    """Two parts that were given one port are named."""
    seen: dict[int, Listener] = {}
    for listener in listeners:
        other = seen.setdefault(listener.port, listener)
        if other is not listener:
            raise CliError(
                f"{other.setting} and {listener.setting} are the same; choose two ports."
            )


def free_ports(asked: Sequence[tuple[str, int]]) -> list[int]:
    """For each host the port that is asked for, or instead of 0 one that nobody has just now. All
    are held until the last is found: one that is let go may be found again."""
    with ExitStack() as held:
        found = []
        for host, port in asked:
            if port:
                found.append(port)
                continue
            probe = held.enter_context(socket.socket())
            probe.bind((host, 0))
            found.append(int(probe.getsockname()[1]))
        return found


def raise_open_files() -> int:
    """Lift the soft limit of open files as far as wanted and allowed; the limit in force.

    Each stream of the gateway holds two sockets; the usual 1,024 would end at 500 streams.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = OPEN_FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_WANTED)
    if soft == resource.RLIM_INFINITY or soft >= top:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
    return top


def check_all(folder: Path, listeners: list[Listener]) -> None:
    """Everything that can be known before the start. Raises ``CliError`` at the first fault."""
    check_python()
    check_disk(shutil.disk_usage(folder).free, folder)
    for listener in listeners:
        check_port(listener)


def _why_not(listener: Listener, problem: OSError) -> str:
    address = f"{listener.host}:{listener.port}"
    if problem.errno == errno.EADDRINUSE:
        return f"Port {listener.port}, which the {listener.part} needs, is busy{_holder(listener)}."
    if problem.errno == errno.EACCES:
        return f"The {listener.part} may not listen on {address}: ports below 1024 are root's."
    return f"The {listener.part} cannot listen on {address}: {problem.strerror or problem}."


def _instead(listener: Listener) -> str:
    return f"Stop what uses it, or choose another: {listener.setting}={listener.port + 1}"


def _holder(listener: Listener) -> str:
    """Who listens there, where the system tells us."""
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.pid
            if listens and tuple(connection.laddr)[1:2] == (listener.port,):
                name = psutil.Process(connection.pid).name()
                return f" ({name}, process {connection.pid})"
    except (psutil.Error, OSError):
        return ""
    return ""
