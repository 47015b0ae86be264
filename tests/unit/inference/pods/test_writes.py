"""A head leaves with what came with it: each write wakes everybody on its way once."""

from __future__ import annotations

import asyncio

import pytest

from inference.pods.front import Front
from inference.pods.proxy import ClientConnection
from inference.pods.settings import Settings
from inference.pods.table import Pods
from kernel.clock import ManualClock
from kernel.wire.gateway import ChangeLine, LinkRow, PodRow, PodState

pytestmark = pytest.mark.feature("E3")
ASKED = b"POST /x HTTP/1.1\r\nHost: box-8000.localhost\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = ASKED.replace(b"Content-Length: 5\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Wire(asyncio.Transport):
    """A connection that keeps each write apart."""

    def __init__(self) -> None:
        super().__init__({"peername": ("198.51.100.1", 1)})
        self.writes: list[bytes] = []
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        return None

    resume_reading = pause_reading


class Here:
    """Gives this one link."""

    def __init__(self, link: Wire) -> None:
        self._link = link

    async def open(
        self, lease_id: str, epoch: int, port: int | str, deadline_s: float
    ) -> asyncio.Transport:
        return self._link


@pytest.fixture
async def ends() -> tuple[ClientConnection, Wire, Wire]:
    """A client's connection, its wire, and its link, after one request: it is kept alive."""
    pods, client, link = Pods(), Wire(), Wire()
    row = PodRow("pod_1", "box", "acct_1", "lease_1", 1, LinkRow(), [8000], PodState.RUNNING)
    pods.apply(ChangeLine(pod=row))
    pods.loaded = True
    connection = ClientConnection(Front(Settings(), ManualClock(), pods, Here(link)))
    connection.connection_made(client)
    connection.data_received(ASKED)
    while not link.writes:
        await asyncio.sleep(0)
    answer(link, ANSWER)
    return connection, client, link


def answer(link: Wire, text: bytes) -> None:
    assert isinstance(link.protocol, asyncio.Protocol)
    link.protocol.data_received(text)


def test_over_a_fresh_link(ends: tuple[ClientConnection, Wire, Wire]) -> None:
    _, client, link = ends
    [asked] = link.writes
    assert asked.startswith(b"POST /x")
    assert asked.endswith(b"\r\n\r\nhello")
    [answered] = client.writes
    assert answered.endswith(b"\r\n\r\nok")


def test_over_a_kept_link(ends: tuple[ClientConnection, Wire, Wire]) -> None:
    connection, client, link = ends
    connection.data_received(ASKED)
    answer(link, ANSWER)
    assert (len(link.writes), len(client.writes)) == (2, 2)
    assert link.writes[0] == link.writes[1]
    assert client.writes[0] == client.writes[1]


def test_chunks_that_came_together_leave_together(
    ends: tuple[ClientConnection, Wire, Wire],
) -> None:
    connection, client, link = ends
    connection.data_received(CHUNKED + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
    assert link.writes[-1].endswith(b"\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
    answer(link, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    assert client.writes[-1].endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    assert (len(link.writes), len(client.writes)) == (2, 2)


def test_what_comes_later_does_not_wait(ends: tuple[ClientConnection, Wire, Wire]) -> None:
    connection, client, link = ends
    connection.data_received(ASKED[:-2])
    assert link.writes[-1].endswith(b"hel")
    connection.data_received(b"lo")
    assert link.writes[-1] == b"lo"
    answer(link, ANSWER[:-1])
    assert client.writes[-1].endswith(b"\r\n\r\no")
    answer(link, b"k")
    assert client.writes[-1] == b"k"
