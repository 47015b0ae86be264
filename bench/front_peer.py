"""What stands behind the front in its bench: a node's end of links, and a server in its pod.

``python -m bench.front_peer SERVER_PORT MOCK_PORT BOOT_ID LINK_URL LEASE_ID KEY`` prints "ready".
The pod's port 8000 is the mock worker, 8001 the server of bytes here, which nginx reaches too.
Links are dialled and pumped by the agent's own code; a shell is a process of this machine.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import cast

import uvloop

from bench.front_client import ECHO, FRAME, HEAD_END
from kernel.wire import links as wire
from node_agent.link_dial import Dialler
from node_agent.link_pump import Side, join
from tests.support.pod_node import PodNode

PIECE = bytes(256 << 10)
MOCK_PORT, BYTES_PORT = 8000, 8001
UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class Node(PodNode):
    """Pumps as the agent does; ``PodNode`` itself copies by streams, which costs more than what is
    measured."""

    async def _serve(self, port: int | str) -> None:
        if not isinstance(port, int):
            await super()._serve(port)
            return
        self._number += 1
        link = wire.LinkRequest(self.lease_id, self.epoch, port, self.boot_id, self._number)
        transport, rest = await Dialler().open(self.url, link, self.key)
        gateway, work = Side(), Side()
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: work, "127.0.0.1", self.targets[port])
        transport.set_protocol(gateway)
        gateway.connection_made(transport)
        join(gateway, work, rest)


class Server(asyncio.Protocol):
    """``GET /<n>``: n bytes. ``PUT``: takes what comes. An upgrade: each frame is sent back."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._left = 0  # of an upload
        self._to_send = 0  # of a download
        self._full = False
        self._frames = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._send()

    def data_received(self, received: bytes) -> None:
        if self._left:
            self._take(received)
            return
        self._received += received
        if self._frames:
            self._echo()
            return
        head, end, rest = self._received.partition(HEAD_END)
        if end:
            self._received = b""
            self._begin(head.lower(), rest)

    def _begin(self, head: bytes, rest: bytes) -> None:
        assert self._transport is not None, "connected before"
        method, path = head.split(b" ", 2)[:2]
        if b"upgrade: websocket" in head:
            self._frames = True
            self._transport.write(UPGRADED)
            self.data_received(rest)
        elif method == b"put":
            self._left = int(head.partition(b"content-length:")[2].split(None, 1)[0])
            self._take(rest)
        else:
            self._to_send = int(path[1:])
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self._to_send)
            self._send()

    def _take(self, received: bytes) -> None:
        assert self._transport is not None, "connected before"
        self._left -= len(received)
        if not self._left:
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def _send(self) -> None:
        while self._transport is not None and self._to_send and not self._full:
            part = PIECE[: self._to_send]
            self._to_send -= len(part)
            self._transport.write(part)

    def _echo(self) -> None:
        """Frames of one size, masked with zeros: what is masked is what was meant."""
        assert self._transport is not None, "connected before"
        whole = len(self._received) // len(FRAME)
        self._received = self._received[whole * len(FRAME) :]
        if whole:
            self._transport.write(ECHO * whole)


async def serve(port: int, mock: int, boot_id: str, url: str, lease_id: str, key: str) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_server(Server, "127.0.0.1", port)
    targets = {MOCK_PORT: mock, BYTES_PORT: port}
    node = Node(boot_id, url, lease_id, bytes.fromhex(key), targets=targets)
    node.environment = {"PATH": os.environ["PATH"]}
    await node.join()
    print("ready", flush=True)
    await loop.create_future()  # until it is told to end


if __name__ == "__main__":
    number, mock_worker, *named = sys.argv[1:]
    uvloop.run(serve(int(number), int(mock_worker), *named))
