"""Requests with the same head over one connection: each is what it would be over its own."""

from __future__ import annotations

import json

import pytest
from msgspec import structs

from kernel.clock import NS, SystemClock
from kernel.wire.gateway import Snapshot
from tests.support.gateway import KEY, Gateway, StartGateway, key_row, snapshot
from tests.support.raw_http import RawConnection, Received, connect, request
from tests.support.standin import MODEL, StandIn
from tests.support.wait import until

OTHER = "gk_another_key_of_the_same_account_0000000000000000"


def chat(text: str, **fields: object) -> bytes:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    return json.dumps(body).encode()


def tables_of(stand_in: StandIn) -> Snapshot:
    tables = snapshot(int(stand_in.url.rsplit(":", 1)[1]), upstream_model=MODEL)
    return structs.replace(tables, keys=[key_row(), key_row(OTHER)])


@pytest.fixture
def gateway(quick_stand_in: StandIn, start_gateway: StartGateway) -> Gateway:
    return start_gateway(tables_of(quick_stand_in), gateway_body_bytes_max=10_000)


async def ask(raw: RawConnection, body: bytes, *headers: str, key: str = KEY) -> Received:
    await raw.send(request(body, *headers, key=key))
    return await raw.answer()


async def warm(raw: RawConnection) -> None:
    """Until the connection's head is known."""
    for _ in range(4):
        assert (await ask(raw, chat("hi"))).status == 200


def prompt_tokens(received: Received) -> int:
    return int(json.loads(received.body)["usage"]["prompt_tokens"])


async def test_each_gets_the_answer_to_its_own_body(gateway: Gateway) -> None:
    async with connect(gateway.port) as raw:
        found = [prompt_tokens(await ask(raw, chat("word " * count))) for count in range(1, 12)]
    assert found == sorted(set(found))


async def test_each_is_counted_once_under_an_id_of_its_own(gateway: Gateway) -> None:
    async with connect(gateway.port) as raw:
        ids = {(await ask(raw, chat("hi"))).headers["x-request-id"] for _ in range(9)}
    counted = [one.request_id for one in gateway.segments()]
    assert sorted(counted) == sorted(ids)


async def test_another_key_over_the_same_connection_pays_for_itself(gateway: Gateway) -> None:
    async with connect(gateway.port) as raw:
        await warm(raw)
        other = (await ask(raw, chat("hi"), key=OTHER)).headers["x-request-id"]
        await warm(raw)
    paid = {one.request_id for one in gateway.segments() if one.key_id == key_row(OTHER).key_id}
    assert paid == {other}


async def test_a_key_that_is_revoked_is_refused_on_a_warm_connection(
    gateway: Gateway, quick_stand_in: StandIn
) -> None:
    async with connect(gateway.port) as raw:
        await warm(raw)
        gateway.change(structs.replace(tables_of(quick_stand_in), keys=[]))

        async def refused() -> bool:
            return (await ask(raw, chat("hi"))).status == 401

        assert await until(refused, 10)


async def test_what_is_wrong_with_one_is_not_wrong_with_the_next(gateway: Gateway) -> None:
    async with connect(gateway.port) as raw:
        await warm(raw)
        bodies = [b"{", chat("hi"), chat("x" * 20_000), chat("hi")]
        assert [(await ask(raw, one)).status for one in bodies[:2]] == [400, 200]
        assert (await ask(raw, bodies[2])).status == 413


async def test_one_in_two_pieces_and_two_in_one_are_served(gateway: Gateway) -> None:
    whole = request(chat("hi"), key=KEY)
    async with connect(gateway.port) as raw:
        await warm(raw)
        for pieces in ([whole[:40], whole[40:]], [whole * 2], [whole + whole[:9], whole[9:]]):
            for piece in pieces:
                await raw.send(piece)
            for _ in range(b"".join(pieces).count(b"POST")):
                assert (await raw.answer()).status == 200


async def test_a_stream_among_them_is_a_stream(gateway: Gateway) -> None:
    async with connect(gateway.port) as raw:
        await warm(raw)
        assert (await ask(raw, chat("hi", stream=True))).body.endswith(b"data: [DONE]\n\n")
        assert prompt_tokens(await ask(raw, chat("hi"))) > 0


async def test_a_key_that_expires_is_refused_on_a_warm_connection(
    quick_stand_in: StandIn, start_gateway: StartGateway
) -> None:
    soon = key_row(expires_at_ns=SystemClock().now_ns() + 3 * NS)
    gateway = start_gateway(structs.replace(tables_of(quick_stand_in), keys=[soon]))
    async with connect(gateway.port) as raw:

        async def refused() -> bool:
            return (await ask(raw, chat("hi"))).status == 401

        assert await until(refused, 10)


async def test_the_last_of_a_connection_says_so(gateway: Gateway) -> None:
    async with connect(gateway.port) as raw:
        await warm(raw)
        assert (await ask(raw, chat("hi"), "connection: close")).headers["connection"] == "close"
        assert await raw.rest() == b""
