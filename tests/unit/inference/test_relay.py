"""The way past all reading: what goes by it is what reading would have let through."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inference.answering import Lost
from inference.links import Link, Links
from inference.reading import Reading
from inference.relay import DATA, SAMPLES_MAX, Relay
from inference.stream import SseStream
from kernel.wire.gateway import LinkRow

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
CHAT = b'{"id":"c","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}'
THOUGHT = b'{"id":"c","choices":[{"index":0,"delta":{"reasoning_content":"%b"}}]}'
SPACED = b'{"choices": [{"index": 0, "text": "%b", "finish_reason": null}]}'
SECOND = b'{"choices":[{"index":1,"text":"%b","finish_reason":"length"}]}'
TWO = b'{"choices":[{"index":0,"text":"%b"},{"index":1,"text":"x","finish_reason":"stop"}]}'
SHAPES = st.sampled_from([CHAT, CHAT, CHAT, THOUGHT, SPACED, SECOND, TWO])
TEXTS = (
    st.sampled_from([b" the", b"a", b"", b"Hello", b"1234567890"])
    | st.sampled_from(
        [b'"', b"\\", b"\\n", b'\\"', b'\\\\"', b"\xff", "ö".encode(), b"\t", b"\x7f"]
    )
    | st.sampled_from([b'"},"finish_reason":"stop', b'"},"usage":{"a":"', b'"}}],"error":"n'])
    | st.binary(max_size=6).filter(lambda text: b"\n" not in text and b"\r" not in text)
)


@dataclass
class Reader:
    """What an exchange does with the stream of its worker."""

    stream: SseStream = field(default_factory=lambda: SseStream(show_usage=False))
    relay: Relay | None = None
    content: list[bytes] = field(default_factory=list)
    unread: int = 0
    lost: Lost | None = None

    def link_ready(self, link: Link) -> None: ...

    def answer_whole(self, status: int, kind: bytes, retry_after: bytes, content: bytes) -> None:
        raise AssertionError("it is a stream")

    def answer_head(self, status: int, kind: bytes, length: int) -> None: ...

    def answer_body(self, received: bytes) -> None:
        self.content.append(self.stream.feed(received))
        if self.relay is None and self.content[-1]:
            self.relay = Relay(self.stream, self.passed)

    def answer_event(self, chunk: bytes, start: int) -> Relay | None:
        relay = self.relay
        self.unread -= 1
        if relay is not None and relay.take(chunk, start):
            return relay
        self.unread += 1
        self.answer_body(chunk[start - len(DATA) : -2])
        return self.relay.first(chunk, start) if relay is None and self.relay else None

    def answer_end(self) -> None: ...

    def answer_lost(self, why: Lost) -> None:
        self.lost = why

    def passed(self, chunk: bytes) -> None:
        self.unread += 1
        self.content.append(chunk[chunk.index(b"\r\n") + 2 : -2])


Way = Callable[[list[bytes]], Reader]


class Wire:
    """A transport of which only the socket is used."""

    def __init__(self, door: socket.socket | None = None) -> None:
        self._door = door

    def write(self, content: bytes) -> None: ...

    def abort(self) -> None: ...

    def pause_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return False

    def get_extra_info(self, name: str) -> object:
        return self._door if name == "socket" else None


def framed(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


def asked(wire: Wire, reading: Reading) -> tuple[Link, Reader]:
    """A link over which a stream comes."""
    reader = Reader()
    link = Link(Links(LinkRow(port=1), reading, connect_seconds_max=1))
    link.connection_made(wire)  # type: ignore[arg-type]
    link.exchange = reader
    link.send(b"")
    return link, reader


def told(pieces: list[bytes]) -> Reader:
    """The event loop reads, as it does over TLS."""
    link, reader = asked(Wire(), Reading())
    for received in pieces:
        link.data_received(received)
    return reader


def taken(pieces: list[bytes]) -> Reader:
    """``Reading`` does."""

    async def all_read() -> Reader:
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            link, reader = asked(Wire(near), Reading())
            await asyncio.sleep(0)
            for received in pieces:
                far.send(received)
                while pending(near):
                    await asyncio.sleep(0)
            link.drop()
            return reader

    return asyncio.run(all_read())


def pending(door: socket.socket) -> bool:
    with suppress(BlockingIOError):
        return bool(door.recv(1, socket.MSG_PEEK))
    return False


both = pytest.mark.parametrize("way", [told, taken])


def read(events: list[bytes], way: Way = told) -> Reader:
    return way([HEAD, *map(framed, events), b"0\r\n\r\n"])


def data(shape: bytes, text: bytes) -> bytes:
    return b"data: %b\n\n" % (shape % text)


@pytest.mark.feature("A10")
@both
@given(pieces=st.lists(st.tuples(SHAPES, TEXTS), max_size=12))
@example(pieces=[(CHAT, b"a")] * 3 + [(CHAT, b'"},"finish_reason":"stop'), (CHAT, b"b")])
@example(pieces=[(CHAT, b'a\\"b'), (CHAT, b'z"b')])
@example(pieces=[(SECOND, b"a")] * 4 + [(SECOND, b"\xff")])
def test_unread_or_read_the_stream_is_the_same(way: Way, pieces: list[tuple[bytes, bytes]]) -> None:
    events = [data(shape, text) for shape, text in [(CHAT, b"first"), *pieces]]
    events.append(b"data: [DONE]\n\n")
    reader, whole = read(events, way), SseStream(show_usage=False)
    expected = b"".join(whole.feed(event) for event in events)
    assert b"".join(reader.content) == expected
    assert reader.lost is None
    found = reader.stream
    assert (found.phase, found.tokens(), found.error) == (whole.phase, whole.tokens(), whole.error)


@both
@pytest.mark.parametrize("shape", [CHAT, THOUGHT, SPACED, SECOND, TWO])
def test_what_differs_in_its_text_alone_is_not_read(way: Way, shape: bytes) -> None:
    texts = [b"one", b"two", b" three", b"", b"f" * 300]
    assert read([data(shape, text) for text in [b"a", *texts]], way).unread == len(texts) - 1


def test_a_thinking_model_changes_its_shape_and_is_learnt_anew() -> None:
    events = [data(THOUGHT, b"hm")] * 6 + [data(CHAT, b"so")] * 6
    assert read(events).unread == 4 + 5


def test_shapes_that_alternate_are_read_in_the_end() -> None:
    events = [data(CHAT, b"a"), data(SPACED, b"b")] * (2 * SAMPLES_MAX)
    reader = read([*events, *[data(CHAT, b"a")] * 3])
    assert reader.stream.tokens()[1] == len(events) + 3


@both
def test_an_overlap_of_the_two_ends_is_not_like_the_sample(way: Way) -> None:
    """Its one quote would have to be the last of the head and the first of the tail."""
    torn = (CHAT % b"").replace(b'""', b'"')
    reader = read([data(CHAT, b"a")] * 3 + [b"data: %b\n\n" % torn], way)
    assert reader.stream.reason == "an event is not valid JSON"


@both
@given(
    texts=st.lists(TEXTS, min_size=3, max_size=8),
    cuts=st.lists(st.integers(0, 999), max_size=8).map(sorted),
)
@example(texts=[b"a", b"a", b"a", b"abcdefghijkl"], cuts=[424, 428])  # a piece of a text alone
def test_wherever_it_is_cut_the_stream_is_the_same(
    way: Way, texts: list[bytes], cuts: list[int]
) -> None:
    events = [data(CHAT, text) for text in texts]
    sent = b"".join((HEAD, *map(framed, events), b"0\r\n\r\n"))
    pieces = [sent[start:end] for start, end in pairwise([0, *cuts, len(sent)]) if start < end]
    reader, whole = way(pieces), SseStream(show_usage=False)
    expected = b"".join(whole.feed(event) for event in events)
    assert b"".join(reader.content) == expected
    assert (reader.stream.phase, reader.stream.tokens()) == (whole.phase, whole.tokens())
    assert reader.lost is None


@both
def test_rubbish_between_two_chunks_is_no_text(way: Way) -> None:
    reader = way([HEAD, *[framed(data(CHAT, b"a"))] * 3, b"zz"])
    assert reader.lost is Lost.GARBLED
    assert b"zz" not in b"".join(reader.content)
