"""Chunks that are read without a parser hold what a parser would find in them."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inference.chunks import SIZE_MAX, head_of, unframed

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZES = st.sampled_from([b"%x", b"%X", b"0%x", b"%x;a=b", b"+%x", b"0x%x", b"%x ", b"%d"])
PIECES = st.binary(max_size=40) | st.sampled_from([b"", b"\r\n", b"3\r\nabc\r\n", b"x" * 300])
RAW = st.sampled_from(
    [b"", b"0\r\n", b"0\r\n\r\n", b"\r\n", b"0\r\na: b\r\n\r\n", b"3\r\nabc\r", b"3"]
)
PLAIN_PIECES = PIECES.filter(lambda piece: bool(piece) and b"\r\n" not in piece)


class Reading:
    """What httptools finds in a body; ``over`` once it is whole."""

    def __init__(self, received: bytes) -> None:
        self.body = b""
        self.over = False
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(HEAD)
        self._parser.feed_data(received)

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        assert not self.over, "one answer, and nothing behind it"
        self.over = True


def framed(piece: bytes, size: bytes = b"%x") -> bytes:
    return b"%b\r\n%b\r\n" % (size % len(piece), piece)


@given(st.lists(st.tuples(PIECES, SIZES), max_size=4), RAW)
@example([(b"", b"%x")] * 2, b"")
@example([(b"abc", b"%x")], b"0\r\n")
def test_what_is_taken_is_what_a_parser_reads(
    pieces: list[tuple[bytes, bytes]], rest: bytes
) -> None:
    received = b"".join(framed(piece, size) for piece, size in pieces) + rest
    found = unframed(received)
    if found is not None:
        read = Reading(received)
        assert (read.body, read.over) == found


@given(st.lists(PLAIN_PIECES, max_size=SIZE_MAX // 310), st.booleans())
def test_what_is_plainly_framed_is_taken(pieces: list[bytes], whole: bool) -> None:
    received = b"".join(map(framed, pieces)) + (b"0\r\n\r\n" if whole else b"")
    assert unframed(received) == (b"".join(pieces), whole)


@pytest.mark.parametrize("behind", [b"", b"3\r\nabc\r\n"])
def test_a_head_is_known_by_all_its_bytes(behind: bytes) -> None:
    assert head_of(HEAD + behind) == HEAD


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        (b"200 OK", b"206 Partial"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"chunked", b"gzip, chunked"),
        (b"chunked", b"chunked\r\nConnection: close"),
        (b"chunked", b"chunked\r\nContent-Length: 3"),
        (b"chunked", b"chunked\r\nTransfer-Encoding: chunked"),
        (b"chunked", b"chunked\r\nTrailer: x"),
        (b"Transfer-Encoding", b"X-Transfer-Encoding"),
        (b"\r\n\r\n", b"\r\n"),
    ],
)
def test_an_unusual_head_is_read_each_time(line: bytes, instead: bytes) -> None:
    assert head_of(HEAD.replace(line, instead)) == b""
