"""How a client's connection ends: what was said is heard out, and nobody stays for ever."""

from __future__ import annotations

import asyncio

import pytest

from inference.pods.front import Front
from inference.pods.proxy import ClientConnection
from inference.pods.settings import Settings
from inference.pods.table import Pods
from kernel.clock import ManualClock

pytestmark = pytest.mark.feature("E3")
ASKED = b"GET /health/live HTTP/1.1\r\nHost: here\r\n\r\n"


class Wire(asyncio.Transport):
    """A connection whose other side reads when told."""

    def __init__(self, address: str = "198.51.100.1") -> None:
        super().__init__({"peername": (address, 1)})
        self.said = b""
        self.unsent = 0
        self.closing = self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.said += bytes(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high is not None

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        assert not self.closing

    resume_reading = pause_reading


class Nowhere:
    """No link is asked for here."""

    async def open(
        self, lease_id: str, epoch: int, port: int | str, deadline_s: float
    ) -> asyncio.Transport:
        raise AssertionError("a request went to a pod")


def connection(clock: ManualClock, **settings: int) -> tuple[ClientConnection, Wire]:
    front = Front(Settings(**settings), clock, Pods(), Nowhere())  # type: ignore[arg-type]
    return joined(front)


def joined(front: Front, address: str = "198.51.100.1") -> tuple[ClientConnection, Wire]:
    made, wire = ClientConnection(front), Wire(address)
    made.connection_made(wire)
    return made, wire


def test_a_client_that_read_all_has_a_moment_to_close() -> None:
    clock = ManualClock()
    made, wire = connection(clock)
    made.data_received(ASKED)
    assert b"200 OK" in wire.said
    clock.advance(1.9)
    made.watch(clock.monotonic_ns())
    assert not wire.aborted
    clock.advance(0.2)
    made.watch(clock.monotonic_ns())
    assert wire.aborted


def test_a_slow_client_reads_to_the_end_as_long_as_it_reads() -> None:
    clock = ManualClock()
    made, wire = connection(clock, pod_idle_seconds_max=300)
    made.data_received(ASKED)
    for left in (9000, 5000, 1):
        wire.unsent = left
        for _ in range(29):
            clock.advance(10)
            made.watch(clock.monotonic_ns())
        assert not wire.aborted
    clock.advance(30)
    made.watch(clock.monotonic_ns())
    assert wire.aborted


def test_a_connection_that_asks_nothing_is_closed() -> None:
    clock = ManualClock()
    made, wire = connection(clock, pod_keepalive_seconds=60)
    clock.advance(61)
    made.watch(clock.monotonic_ns())
    assert (wire.aborted, wire.said) == (True, b"")


def test_beyond_the_limit_there_is_a_refusal_and_beyond_twice_that_nothing() -> None:
    front = Front(Settings(pod_connections_max=1), ManualClock(), Pods(), Nowhere())
    wires = [joined(front, f"198.51.100.{number}")[1] for number in range(3)]
    assert [wire.said[:12] for wire in wires] == [b"", b"HTTP/1.1 429", b""]
    assert [wire.aborted for wire in wires] == [False, False, True]


def test_connections_of_a_trusted_proxy_are_not_counted_as_one_address() -> None:
    settings = Settings(pod_connections_per_address_max=1, pod_trusted_proxies="10.0.0.1")
    front = Front(settings, ManualClock(), Pods(), Nowhere())
    wires = [joined(front, "10.0.0.1")[1] for _ in range(3)]
    assert [wire.said for wire in wires] == [b"", b"", b""]
    joined(front)
    assert joined(front)[1].said.startswith(b"HTTP/1.1 429")


@pytest.mark.parametrize("domain", ["", "a b", "http://x", "x:80", "-x", "x..y"])
def test_a_wrong_domain_is_refused_at_the_start(domain: str) -> None:
    if domain:
        with pytest.raises(ValueError, match="domain"):
            Settings(pod_domain=domain)
    else:
        assert Settings().pod_domain == "localhost"
