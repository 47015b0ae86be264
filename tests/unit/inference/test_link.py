"""A worker's connection: however its bytes are framed and cut, the same content comes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from inference.answering import Lost
from inference.links import Link, Links
from inference.reading import Reading
from inference.relay import Relay
from inference.stream import SseStream
from kernel.wire.gateway import LinkRow

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
SIZES = (b"%x", b"%X", b"00%x", b"%x;name=value")
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
PIECES = st.sampled_from(
    [EVENT, EVENT * 2, EVENT[:9], EVENT[9:], b"data: \n\n", b"data: a\ndata: b\n\n", b": ping\n\n"]
) | st.binary(min_size=1, max_size=40)


@dataclass
class Heard:
    """What the link told, in order."""

    content: list[bytes] = field(default_factory=list)
    events: int = 0
    ended: bool = False
    lost: Lost | None = None

    def link_ready(self, link: Link) -> None: ...

    def answer_whole(self, status: int, kind: bytes, retry_after: bytes, content: bytes) -> None:
        raise AssertionError("it is a stream")

    def answer_head(self, status: int, kind: bytes, length: int) -> None:
        assert (status, kind) == (200, b"text/event-stream")

    def answer_body(self, received: bytes) -> None:
        self.content.append(received)

    def answer_event(self, chunk: bytes, start: int) -> Relay | None:
        event = b"data: " + chunk[start:-2]
        assert chunk == b"%x\r\n%b\r\n" % (len(event), event)
        self.content.append(event)
        if b"\n" in event[:-2]:
            return None
        self.events += 1
        return Relay(SseStream(show_usage=False), self.content.append)  # nothing is like it yet

    def answer_end(self) -> None:
        self.ended = True

    def answer_lost(self, why: Lost) -> None:
        self.lost = why


class Wire:
    """The transport's end of a link under test."""

    def write(self, content: bytes) -> None: ...

    def abort(self) -> None: ...

    def get_extra_info(self, name: str) -> None: ...


def heard(cuts: list[bytes], *before: list[bytes]) -> Heard:
    """The last of several answers over one link."""
    link = Link(Links(LinkRow(port=1), Reading(), connect_seconds_max=1))
    link.connection_made(Wire())  # type: ignore[arg-type]
    for answer in (*before, cuts):
        told = link.exchange = Heard()
        link.send(b"")
        for cut in answer:
            link.data_received(cut)
    return told


@given(
    pieces=st.lists(st.tuples(PIECES, st.sampled_from(SIZES)), max_size=8),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    whole=st.booleans(),
)
def test_any_framing_and_any_cut_give_the_same(
    pieces: list[tuple[bytes, bytes]], cuts: list[int], whole: bool
) -> None:
    chunks = [b"%b\r\n%b\r\n" % (size % len(piece), piece) for piece, size in pieces]
    parts = [HEAD, *chunks, b"0\r\n\r\n"]
    if not whole:
        text = b"".join(parts)
        places = [0, *sorted(cuts), len(text)]
        parts = [text[a:b] for a, b in pairwise(places) if a < b]
    bytewise = [bytes([byte]) for byte in b"".join(parts)]
    slow, known = heard(bytewise, parts), [HEAD, b"0\r\n\r\n"]
    expected = b"".join(piece for piece, _ in pieces)
    assert (b"".join(slow.content), slow.ended, slow.lost, slow.events) == (expected, True, None, 0)
    for told in (heard(parts), heard(parts, known), heard(parts, known, parts, bytewise)):
        assert (b"".join(told.content), told.ended, told.lost) == (expected, True, None)


def test_a_known_head_and_what_is_plainly_framed_need_no_parser() -> None:
    event, last = b"%x\r\n%b\r\n" % (len(EVENT), EVENT), b"0\r\n\r\n"
    whole = [HEAD + event, event, event + event + last]
    link = Link(Links(LinkRow(port=1), Reading(), connect_seconds_max=1))
    link.connection_made(Wire())  # type: ignore[arg-type]
    for answer in (whole, whole):
        told = link.exchange = Heard()
        link.send(b"")
        for cut in answer:
            link.data_received(cut)
        link._parser = None
    assert (b"".join(told.content), told.ended) == (EVENT * 4, True)


def test_a_whole_event_in_a_chunk_of_its_own_goes_past_the_parser() -> None:
    chunk = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
    assert heard([HEAD, chunk, chunk, chunk, b"0\r\n\r\n"]).events == 2  # from the second on


def test_what_looks_like_a_chunk_inside_a_chunk_is_content() -> None:
    inner = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
    line = b": a line\r\n"
    begun = b"%x\r\n%b" % (len(line) + len(inner), line)
    told = heard([HEAD, begun, inner, b"\r\n0\r\n\r\n"])
    assert (b"".join(told.content), told.events, told.ended) == (line + inner, 0, True)
