"""A gateway without sockets, in the test's own process: what is said goes in by hand."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import cast

from bench.gateway import snapshot
from bench.rig import KEY
from inference.cards import Cards
from inference.gateway import Gateway
from inference.links import Link, Links
from inference.pages import Pages
from inference.proxy import ClientConnection
from inference.route import Replica
from inference.settings import read
from kernel.clock import ManualClock
from kernel.ids import BootId, SeededIds
from kernel.wire import decode
from kernel.wire.gateway import Snapshot

CLOGGED_BYTES = 64 * 1024


class Wire:
    """The other end of a connection: takes all, and says nothing of its own. ``reader`` is told to
    pause, as an event loop does it, in the middle of the write that is too much while ``full``."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.reader: asyncio.BaseProtocol | None = None
        self.full = False
        self.reading = True

    def write(self, content: bytes) -> None:
        self.written.append(content)
        if self.full and self.reader is not None:
            self.reader.pause_writing()

    def get_extra_info(self, name: str) -> None: ...

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...
    def abort(self) -> None: ...
    def write_eof(self) -> None: ...


def gateway_alone(home: Path, clock: ManualClock, **settings: str) -> Gateway:
    """One key, one deployment ``m`` with one replica; it has no brain."""
    ids = SeededIds(clock, 1)
    chosen = {"gateway_spool_dir": str(home), "gateway_spool_bytes_max": str(8 << 20), **settings}
    gateway = Gateway(read(**chosen), clock, ids, ids.new(BootId), alone=True)
    tell(gateway, snapshot(1))
    return gateway


def tell(gateway: Gateway, told: dict[str, object]) -> None:
    """The brain's snapshot, as ``bench.gateway.snapshot`` makes one."""
    gateway.tables.replace(decode(json.dumps(told).encode(), Snapshot))
    gateway.sweep()


def only_replica(gateway: Gateway) -> Replica[Links]:
    (replica,) = gateway.tables.replicas.values()
    return replica


def client_of(gateway: Gateway) -> tuple[ClientConnection, Wire]:
    client, wire = ClientConnection(gateway, Pages(gateway, Cards())), Wire()
    wire.reader = client
    client.connection_made(cast(asyncio.BaseTransport, wire))
    return client, wire


def idle_link(gateway: Gateway) -> tuple[Link, Wire]:
    """A connection to the worker, which the next request takes."""
    links = only_replica(gateway).links
    link, wire = Link(links), Wire()
    wire.reader = link
    link.connection_made(cast(asyncio.BaseTransport, wire))
    links.put_back(link)
    return link, wire


def request(path: str, body: dict[str, object]) -> bytes:
    content = json.dumps(body).encode()
    return (
        b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    ) % (path.encode(), KEY.encode(), len(content), content)
