"""Clients of the front's bench: ``python -m bench.front_client KIND PORT …``, one JSON line.

``down|up PORT HOST BYTES`` one transfer; ``echo PORT HOST CONNECTIONS SECONDS`` WebSocket frames,
one in flight on each connection; ``shell-down|shell-up PORT KEY_FILE BYTES`` over SSH; ``idle PORT
HOST CONNECTIONS`` holds connections that were used once, until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from typing import cast

import asyncssh
import uvloop

HEAD_END = b"\r\n\r\n"
PAYLOAD = b"x" * 64
# Fin, text; masked, 64 bytes; a mask of zeros. What comes back is not masked.
FRAME = bytes((0x81, 0x80 | len(PAYLOAD), 0, 0, 0, 0)) + PAYLOAD
ECHO = bytes((0x81, len(PAYLOAD))) + PAYLOAD
PIECE = bytes(256 << 10)
WARM_SECONDS = 0.5
SLUG = "mypod"


def head(line: str, host: str, *more: str) -> bytes:
    return "\r\n".join((f"{line} HTTP/1.1", f"Host: {host}", *more)).encode() + HEAD_END


def down(port: int, host: str, size: int) -> float:
    """Seconds from the request to the last byte."""
    with socket.create_connection(("127.0.0.1", port)) as link:
        began = time.perf_counter()
        link.sendall(head(f"GET /{size}", host))
        received = b""
        while HEAD_END not in received:
            received += link.recv(65536)
        left = size - len(received.partition(HEAD_END)[2])
        room = bytearray(1 << 20)
        while left:
            got = link.recv_into(room)
            if not got:
                raise ConnectionError(f"{left} bytes did not come")
            left -= got
        return time.perf_counter() - began


def up(port: int, host: str, size: int) -> float:
    """Seconds from the request to its answer."""
    with socket.create_connection(("127.0.0.1", port)) as link:
        began = time.perf_counter()
        link.sendall(head("PUT /", host, f"Content-Length: {size}"))
        for sent in range(0, size, len(PIECE)):
            link.sendall(PIECE[: size - sent])
        if b" 200 " not in link.recv(65536):
            raise ConnectionError("the upload was refused")
        return time.perf_counter() - began


class Echo(asyncio.Protocol):
    """Sends a frame for each that came back."""

    def __init__(self, counted: list[int]) -> None:
        self._counted = counted
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._open = False
        self._bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, host: str) -> None:
        assert self._transport is not None, "connected before"
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        wish = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", key)
        self._transport.write(head("GET /", host, *wish))

    def data_received(self, received: bytes) -> None:
        assert self._transport is not None, "connected before"
        if not self._open:
            self._head += received
            if HEAD_END not in self._head:
                return
            if not self._head.startswith(b"HTTP/1.1 101"):
                raise ConnectionError(self._head[:80])
            self._open = True
            self._transport.write(FRAME)
            return
        self._bytes += len(received)
        while self._bytes >= len(ECHO):
            self._bytes -= len(ECHO)
            self._counted[0] += 1
            self._transport.write(FRAME)


async def echo(port: int, host: str, connections: int, seconds: float) -> dict[str, float]:
    """``count``: frames that came back; ``all``: with those of the warm-up."""
    counted = [0]
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        _, one = await loop.create_connection(lambda: Echo(counted), "127.0.0.1", port)
        one.ask(host)
    await asyncio.sleep(WARM_SECONDS)
    before, began = counted[0], time.perf_counter()
    await asyncio.sleep(seconds)
    took = time.perf_counter() - began
    return {"count": counted[0] - before, "all": counted[0], "seconds": took}


async def shell(port: int, key_file: str, size: int, *, upload: bool) -> dict[str, float]:
    """By a command in the pod's shell."""
    async with asyncssh.connect(
        "127.0.0.1",
        port,
        username=SLUG,
        client_keys=[key_file],
        known_hosts=None,
        config=None,
        agent_path=None,
    ) as connection:
        began = time.perf_counter()
        if upload:
            done = await connection.run("cat > /dev/null", input=bytes(size), encoding=None)
        else:
            command = f"head -c {size} /dev/zero"
            done = await connection.run(command, encoding=None, check=True)
            if len(cast(bytes, done.stdout)) != size:
                raise ConnectionError("it came shortened")
        if done.exit_status:
            raise ConnectionError(f"the command ended with {done.exit_status}")
        return {"seconds": time.perf_counter() - began}


def idle(port: int, host: str, connections: int) -> None:
    """Each has asked once, is kept alive and says no more."""
    kept = []
    for _ in range(connections):
        link = socket.create_connection(("127.0.0.1", port))
        link.sendall(head("GET /1", host))
        received = b""
        while len(received.partition(HEAD_END)[2]) < 1:
            received += link.recv(65536)
        kept.append(link)
    print(json.dumps({"count": len(kept)}), flush=True)
    sys.stdin.read()


def main() -> None:
    kind, port, host, *rest = sys.argv[1], int(sys.argv[2]), sys.argv[3], *sys.argv[4:]
    if kind == "idle":
        idle(port, host, int(rest[0]))
        return
    transfers: dict[str, Callable[[int, str, int], float]] = {"down": down, "up": up}
    told: dict[str, float]
    if kind in transfers:
        told = {"seconds": transfers[kind](port, host, int(rest[0]))}
    else:
        work: Coroutine[None, None, dict[str, float]]
        if kind == "echo":
            work = echo(port, host, int(rest[0]), float(rest[1]))
        else:
            work = shell(port, host, int(rest[0]), upload=kind == "shell-up")
        told = uvloop.run(work)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
