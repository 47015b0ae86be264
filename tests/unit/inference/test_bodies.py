"""Long bodies in hand have a limit together, and nothing of one is kept after its answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.gateway import Gateway
from inference.proxy import ClientConnection
from kernel.clock import ManualClock
from tests.support.wireless import Wire, client_of, gateway_alone, idle_link, request

MIB = 1 << 20
ANSWER = b'{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}'
ANSWERED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
) + ANSWER


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return gateway_alone(tmp_path, ManualClock(), gateway_bodies_bytes_max=str(MIB))


def asked(size: int) -> bytes:
    content = "x" * size
    return request(
        "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": content}]}
    )


def in_pieces(client: ClientConnection, content: bytes) -> None:
    for at in range(0, len(content), 20_000):
        client.data_received(content[at : at + 20_000])


def status_of(wire: Wire) -> bytes:
    return b"".join(wire.written)[9:12]


@pytest.mark.feature("A9")
def test_what_is_too_much_is_refused_and_what_was_answered_counts_no_more(
    gateway: Gateway,
) -> None:
    first, first_wire = client_of(gateway)
    link, _ = idle_link(gateway)
    in_pieces(first, asked(600_000))
    assert 600_000 < gateway.bodies.used < 601_000
    second, second_wire = client_of(gateway)
    in_pieces(second, asked(600_000))
    assert status_of(second_wire) == b"503"
    assert b"retry-after: 1\r\n" in b"".join(second_wire.written)
    assert 600_000 < gateway.bodies.used < 601_000
    link.data_received(ANSWERED)
    assert status_of(first_wire) == b"200"
    assert gateway.bodies.used == 0
    assert not first._incoming.parts


@pytest.mark.feature("A9")
def test_who_leaves_lets_go(gateway: Gateway) -> None:
    for sent in (asked(600_000), asked(600_000)[:400_000], asked(300_000) * 2):
        idle_link(gateway)
        client, _ = client_of(gateway)
        in_pieces(client, sent)
        assert gateway.bodies.used > 300_000
        client.connection_lost(None)
        assert gateway.bodies.used == 0


@pytest.mark.feature("A9")
def test_requests_that_are_alike_are_counted_too(gateway: Gateway) -> None:
    client, wire = client_of(gateway)
    link, _ = idle_link(gateway)
    for _ in range(5):
        client.data_received(asked(200_000))
        assert gateway.bodies.used > 200_000
        link.data_received(ANSWERED)
        assert gateway.bodies.used == 0
        assert not client._repeats._request.parts
    assert b"".join(wire.written).count(b"HTTP/1.1 200") == 5
    gateway.bodies.used = MIB  # others have all of it
    client.data_received(asked(200_000))
    assert wire.written[-1][9:12] == b"503"


@pytest.mark.feature("A9")
def test_short_ones_are_taken_when_no_long_one_is(gateway: Gateway) -> None:
    gateway.bodies.used = MIB
    client, wire = client_of(gateway)
    link, _ = idle_link(gateway)
    in_pieces(client, asked(50_000))
    link.data_received(ANSWERED)
    assert status_of(wire) == b"200"
