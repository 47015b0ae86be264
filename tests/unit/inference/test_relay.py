"""The way past all reading: what goes by it is what reading would have let through."""

from __future__ import annotations

from dataclasses import dataclass, field

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
        raise AssertionError(why)

    def passed(self, chunk: bytes) -> None:
        self.unread += 1
        self.content.append(chunk[chunk.index(b"\r\n") + 2 : -2])


class Wire:
    def write(self, content: bytes) -> None: ...

    def abort(self) -> None: ...

    def get_extra_info(self, name: str) -> None: ...


def framed(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


def read(events: list[bytes]) -> Reader:
    reader = Reader()
    link = Link(Links(LinkRow(port=1), Reading(), connect_seconds_max=1))
    link.connection_made(Wire())  # type: ignore[arg-type]
    link.exchange = reader
    link.send(b"")
    for received in (HEAD, *map(framed, events), b"0\r\n\r\n"):
        link.data_received(received)
    return reader


def data(shape: bytes, text: bytes) -> bytes:
    return b"data: %b\n\n" % (shape % text)


@pytest.mark.feature("A10")
@given(pieces=st.lists(st.tuples(SHAPES, TEXTS), max_size=12))
@example(pieces=[(CHAT, b"a")] * 3 + [(CHAT, b'"},"finish_reason":"stop'), (CHAT, b"b")])
@example(pieces=[(CHAT, b'a\\"b'), (CHAT, b'z"b')])
@example(pieces=[(SECOND, b"a")] * 4 + [(SECOND, b"\xff")])
def test_unread_or_read_the_stream_is_the_same(pieces: list[tuple[bytes, bytes]]) -> None:
    events = [data(shape, text) for shape, text in [(CHAT, b"first"), *pieces]]
    events.append(b"data: [DONE]\n\n")
    reader, whole = read(events), SseStream(show_usage=False)
    expected = b"".join(whole.feed(event) for event in events)
    assert b"".join(reader.content) == expected
    found = reader.stream
    assert (found.phase, found.tokens(), found.error) == (whole.phase, whole.tokens(), whole.error)


@pytest.mark.parametrize("shape", [CHAT, THOUGHT, SPACED, SECOND, TWO])
def test_what_differs_in_its_text_alone_is_not_read(shape: bytes) -> None:
    texts = [b"one", b"two", b" three", b"", b"f" * 300]
    assert read([data(shape, text) for text in [b"a", *texts]]).unread == len(texts) - 1


def test_a_thinking_model_changes_its_shape_and_is_learnt_anew() -> None:
    events = [data(THOUGHT, b"hm")] * 6 + [data(CHAT, b"so")] * 6
    assert read(events).unread == 4 + 5


def test_shapes_that_alternate_are_read_in_the_end() -> None:
    events = [data(CHAT, b"a"), data(SPACED, b"b")] * (2 * SAMPLES_MAX)
    reader = read([*events, *[data(CHAT, b"a")] * 3])
    assert reader.stream.tokens()[1] == len(events) + 3


def test_an_overlap_of_the_two_ends_is_not_like_the_sample() -> None:
    """Its one quote would have to be the last of the head and the first of the tail."""
    torn = (CHAT % b"").replace(b'""', b'"')
    reader = read([data(CHAT, b"a")] * 3 + [b"data: %b\n\n" % torn])
    assert reader.stream.reason == "an event is not valid JSON"
