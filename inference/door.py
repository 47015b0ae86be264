"""Where a gateway process listens: by its settings, or at sockets that it inherits."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.settings import Settings

BACKLOG = 4096


@dataclass(frozen=True)
class Given:
    """The command line. Sockets are descriptors that this process inherited; -1: none."""

    snapshot: Path | None = None
    host: str | None = None
    port: int | None = None
    processes: int | None = None
    clients: int = -1
    own: int = -1
    line: int = -1

    def settings(self) -> dict[str, Any]:
        """What the command line says above the environment."""
        return {
            "gateway_host": self.host,
            "gateway_port": self.port,
            "gateway_processes": self.processes,
        }


@dataclass(frozen=True)
class Doors:
    """The listening sockets of one place: for clients, and one that is its own."""

    clients: socket.socket
    own: socket.socket | None

    def all(self) -> list[socket.socket]:
        return [self.clients] if self.own is None else [self.clients, self.own]

    def close(self) -> None:
        for door in self.all():
            door.close()


def read_arguments(arguments: Sequence[str] | None) -> Given:
    parser = argparse.ArgumentParser(
        prog="ganglion gateway", description="The OpenAI API in front of the workers."
    )
    parser.add_argument("--snapshot", type=Path, help="run alone from this file, with no brain")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on")
    parser.add_argument("--processes", type=int, help="how many share the port; 0: one a core")
    for name in ("clients", "own", "line"):  # from a parent to its processes
        parser.add_argument(f"--{name}", type=int, default=-1, help=argparse.SUPPRESS)
    return Given(**vars(parser.parse_args(arguments)))


def arguments_of(given: Given, doors: Doors, line: socket.socket) -> list[str]:
    """The command line of a process that inherits these."""
    found = [] if given.snapshot is None else ["--snapshot", str(given.snapshot)]
    found += ["--clients", str(doors.clients.fileno()), "--line", str(line.fileno())]
    return found if doors.own is None else [*found, "--own", str(doors.own.fileno())]


def open_doors(settings: Settings) -> list[Doors]:
    """One for each process. Raises ``OSError``."""
    made: list[Doors] = []
    host, port, own = settings.gateway_host, settings.gateway_port, settings.gateway_own_port
    for place in range(settings.processes):
        clients = listen(host, port, shared=True)
        port = clients.getsockname()[1]
        made.append(Doors(clients, listen("127.0.0.1", own + place) if own else None))
    return made


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Raises ``OSError`` that names the address."""
    [(family, kind, proto, _, address), *_] = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    door = socket.socket(family, kind, proto)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        door.bind(address)
        door.listen(BACKLOG)
    except OSError as wrong:
        door.close()
        raise OSError(wrong.errno, f"{host}:{port}: {wrong.strerror}") from None
    return door
