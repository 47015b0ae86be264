"""What no honest client sends: refused at the door, and no byte of it reaches the pod."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.integration.inference.pods.conftest import Begin
from tests.support.raw_http import connect

pytestmark = pytest.mark.feature("E3")
HOST = b"Host: mypod-8000.localhost\r\n"
INNER = b"GET /inner HTTP/1.1\r\nHost: mypod-8000.localhost\r\n\r\n"

BAD = {
    "both framings": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, the other way": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "the same length twice": b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": b"Content-Length: 4, 4\r\n\r\nabcd",
    "a signed length": b"Content-Length: +4\r\n\r\nabcd",
    "a hex length": b"Content-Length: 0x4\r\n\r\nabcd",
    "another coding": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a hidden coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a tab before chunked": b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"A: b\r\n Transfer-Encoding: chunked\r\n\r\n",
    "a bare return": b"A: b\rTransfer-Encoding: chunked\r\n\r\n",
    "a bare newline": b"A: b\nTransfer-Encoding: chunked\r\n\r\n",
    "a zero byte": b"A: b\x00c\r\n\r\n",
    "two hosts": b"Host: other\r\n\r\n",
    "a missing colon": b"Nonsense\r\n\r\n",
}
BAD_CHUNKS = {
    "no number": b"zz\r\nhello\r\n0\r\n\r\n",
    "a prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "too large": b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    "a bare newline": b"5\nhello\r\n0\r\n\r\n",
    "more than said": b"5\r\nhello!!\r\n0\r\n\r\n",
}


class Pod:
    """Keeps what reaches it; answers a request that came whole."""

    def __init__(self) -> None:
        self.got = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while received := await reader.read(1 << 16):
            self.got += received
            if self.got.endswith(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def test_doubtful_heads_are_refused_and_reach_nobody(begin: Begin) -> None:
    pod = Pod()
    world = await begin(pod.serve)
    wrong = {}
    for name, rest in BAD.items():
        async with connect(world.port) as raw:
            await raw.send(b"POST / HTTP/1.1\r\n" + HOST + rest + INNER)
            answer = await raw.answer()
            rest_of_it = await raw.rest()
        if answer.status != 400 or rest_of_it:
            wrong[name] = (answer.status, rest_of_it)
    assert wrong == {}
    assert pod.got == b""


async def test_bad_chunks_end_the_connection_to_both_sides(begin: Begin) -> None:
    pod = Pod()
    world = await begin(pod.serve)
    wrong = {}
    for name, body in BAD_CHUNKS.items():
        async with connect(world.port) as raw:
            await raw.send(b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
            await raw.send(body + INNER)
            answer = await raw.answer()
        if answer.status != 400:
            wrong[name] = answer.status
    assert wrong == {}
    assert b"/inner" not in pod.got


async def test_a_request_behind_another_is_not_passed_on_with_it(begin: Begin) -> None:
    pod = Pod()
    world = await begin(pod.serve)
    async with connect(world.port) as raw:
        await raw.send(b"GET /first HTTP/1.1\r\n" + HOST + b"\r\n" + INNER)
        assert (await raw.answer()).status == 200
        assert await raw.rest() == b""
    assert b"/inner" not in pod.got


async def test_methods_that_make_tunnels_are_refused(begin: Begin) -> None:
    world = await begin()
    for method in (b"CONNECT mypod-8000.localhost:80", b"TRACE /"):
        async with connect(world.port) as raw:
            await raw.send(method + b" HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (await raw.answer()).status == 405


@pytest.mark.parametrize(
    "endless",
    [
        b"A: " + b"b" * 80_000,
        b"A: b\r\n" * 12_000,
        b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 80_000,
        b"Transfer-Encoding: chunked\r\n\r\n0\r\nT: " + b"x" * 80_000,
    ],
    ids=["header", "headers", "extension", "trailer"],
)
async def test_nothing_grows_without_an_end(begin: Begin, endless: bytes) -> None:
    pod = Pod()
    world = await begin(pod.serve)
    async with connect(world.port) as raw:
        await raw.send(b"POST / HTTP/1.1\r\n" + HOST + endless)
        assert (await raw.answer()).status in (400, 431)


ANSWERS = {
    "both framings": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "no http": b"SSH-2.0-OpenSSH\r\n",
    "an endless head": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 80_000,
    "a switch nobody asked for": b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_nonsense_of_a_pod_is_502(begin: Begin, name: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWERS[name])
        await writer.drain()
        if "endless" in name:
            await reader.read()  # it stays
        writer.close()

    world = await begin(serve)
    async with connect(world.port) as raw:
        await raw.send(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n")
        assert (await raw.answer()).status == 502


async def test_what_a_pod_says_unasked_goes_to_nobody(begin: Begin) -> None:
    second = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
        writer.write(answer + b"ok" + answer + b"no")
        await reader.read()  # the link is given up for what nobody asked for
        second.set()

    world = await begin(serve)
    async with connect(world.port) as raw:
        await raw.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        answer = await raw.answer()
        assert (answer.status, answer.body) in ((200, b"ok"), (502, answer.body))
        await second.wait()
        said = b""
        with suppress(ConnectionError):  # an answer that came in two reads may end with its link
            await raw.send(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
            said = await raw.rest()
        assert b"no" not in said
