"""Requests that two servers could read differently: refused, and nothing behind them is served."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.support.gateway import KEY, Gateway, launch, snapshot
from tests.support.raw_http import connect
from tests.support.standin import MODEL, StandIn

AUTH = b"authorization: Bearer " + KEY.encode() + b"\r\n"
CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(CHAT), CHAT)
# What must never be answered: it stands where a body ends for one reader and goes on for another.
HIDDEN = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n" + AUTH + b"\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + AUTH
LENGTH = b"content-length: %d\r\n" % len(CHAT)
TE = b"transfer-encoding: chunked\r\n"


def of(*heads: bytes, body: bytes = CHUNKED) -> bytes:
    return POST + b"".join(heads) + b"\r\n" + body + HIDDEN


# Lengths that contradict a transfer encoding or each other, in every order and spelling.
FRAMINGS = {
    "length and chunks": of(b"content-length: 5\r\n", TE),
    "chunks and length": of(TE, b"content-length: 5\r\n"),
    "length of all and chunks": of(b"content-length: %d\r\n" % len(CHUNKED), TE),
    "two lengths": of(LENGTH, b"content-length: 5\r\n", body=CHAT),
    "the same length twice": of(LENGTH, LENGTH, body=CHAT),
    "a list of lengths": of(b"content-length: 5, %d\r\n" % len(CHAT), body=CHAT),
    "a signed length": of(b"content-length: +%d\r\n" % len(CHAT), body=CHAT),
    "a negative length": of(b"content-length: -1\r\n", body=CHAT),
    "a length in hex": of(b"content-length: 0x5\r\n", body=CHAT),
    "a length with letters": of(b"content-length: 5a\r\n", body=CHAT),
    "a length of nothing": of(b"content-length: \r\n", body=CHAT),
    "a length beyond numbers": of(b"content-length: 99999999999999999999999\r\n", body=CHAT),
    "a length with a space": of(b"content-length: 1 0\r\n", body=CHAT),
    "a space before the colon": of(b"content-length : 5\r\n", TE),
    "an encoding with a space before its colon": of(LENGTH, b"transfer-encoding : chunked\r\n"),
    "another encoding": of(LENGTH, b"transfer-encoding: xchunked\r\n"),
    "chunks, then another": of(LENGTH, b"transfer-encoding: chunked, identity\r\n"),
    "identity, then chunks": of(LENGTH, b"transfer-encoding: identity, chunked\r\n"),
    "two encodings": of(LENGTH, TE, b"transfer-encoding: identity\r\n"),
    "chunks twice": of(LENGTH, TE, TE),
    "an encoding in quotes": of(LENGTH, b'transfer-encoding: "chunked"\r\n'),
    "an encoding behind a tab": of(LENGTH, b"transfer-encoding:\x0bchunked\r\n"),
    "an encoding with a null": of(LENGTH, b"transfer-encoding: chunked\x00\r\n"),
    "an encoding on a folded line": of(LENGTH, b"transfer-encoding:\r\n chunked\r\n"),
    "an encoding behind a bare line feed": of(LENGTH, b"x: y\ntransfer-encoding: chunked\r\n"),
    "an encoding behind a bare return": of(LENGTH, b"x: y\rtransfer-encoding: chunked\r\n"),
    "a name with a null": of(LENGTH, b"transfer-encoding\x00: chunked\r\n"),
    "a line without a colon": of(LENGTH, b"transfer-encoding chunked\r\n"),
    "a line that begins with a colon": of(LENGTH, b": chunked\r\n"),
    "a header that begins with a space": of(b" transfer-encoding: chunked\r\n", LENGTH),
}
# Chunks whose size or end is not what it must be.
CHUNKS = {
    "a size that is none": of(TE, body=b"zz\r\n"),
    "a signed size": of(TE, body=b"+5\r\nhello\r\n0\r\n\r\n"),
    "a size in 0x": of(TE, body=b"0x5\r\nhello\r\n0\r\n\r\n"),
    "a size beyond numbers": of(TE, body=b"fffffffffffffffff\r\n"),
    "a size behind a space": of(TE, body=b" 5\r\nhello\r\n0\r\n\r\n"),
    "a size that ends with a bare line feed": of(TE, body=b"5\nhello\r\n0\r\n\r\n"),
    "a size with a bare return": of(TE, body=b"5\rXhello\r\n0\r\n\r\n"),
    "a chunk that is longer than it says": of(TE, body=b"2\r\nhello\r\n0\r\n\r\n"),
    "a chunk that ends with a bare line feed": of(TE, body=b"5\r\nhello\n0\r\n\r\n"),
    "an extension with a line feed": of(TE, body=b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
}
# First lines.
LINES = {
    "another protocol": b"GET / HTTP/9.9\r\n\r\n" + HIDDEN,
    "an old one": b"GET /v1/models\r\n" + HIDDEN,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00" + HIDDEN,
    "SSH": b"SSH-2.0-x\r\n" + HIDDEN,
    "a null in the address": b"GET /\x00 HTTP/1.1\r\n\r\n" + HIDDEN,
    "a bare return in the address": b"GET /\r HTTP/1.1\r\n\r\n" + HIDDEN,
    "a method that is none": b"GE(T / HTTP/1.1\r\n\r\n" + HIDDEN,
    "a tunnel": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: x\r\n\r\n" + HIDDEN,
    "bare line feeds": b"GET /v1/nothing HTTP/1.1\nhost: x\n\n" + HIDDEN,
}


@pytest.fixture(scope="module")
def gateway(quick_stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    port = int(quick_stand_in.url.rsplit(":", 1)[1])
    tables = snapshot(port, upstream_model=MODEL)
    started = launch(tmp_path_factory.mktemp("gateway"), tables)
    yield started
    started.kill()


@pytest.mark.feature("A9")
@pytest.mark.parametrize("name", [*FRAMINGS, *CHUNKS, *LINES])
async def test_it_is_refused_and_nothing_behind_it_is_served(gateway: Gateway, name: str) -> None:
    sent = {**FRAMINGS, **CHUNKS, **LINES}[name]
    async with connect(gateway.port) as raw:
        await raw.send(sent)
        said = await raw.rest()
    assert [status // 100 for status in statuses(said)] == [4]


async def test_a_sound_one_and_what_is_behind_it_are_served(gateway: Gateway) -> None:
    async with connect(gateway.port) as raw:
        await raw.send(of(TE))
        assert [(await raw.answer()).status for _ in range(2)] == [200, 200]


def statuses(said: bytes) -> list[int]:
    """Of the answers, one after another."""
    return [int(found) for found in re.findall(rb"(?:^|[}\n])HTTP/1\.1 (\d+) ", said)]
