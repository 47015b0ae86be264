"""A message that is taken for one like the last is what the parser would have made of it."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.alike import Alike, sample

HEAD = b"POST /v1/x HTTP/1.1\r\nhost: a\r\n%bcontent-length: %b\r\nx-b: 2\r\n\r\n"
BODIES = st.binary(max_size=200)
LENGTHS = st.sampled_from([b"0", b"5", b"05", b"+5", b"-1", b"5 ", b"5,5", b"", b"99999999999"])


class Reading:
    """What httptools finds in some bytes; ``whole`` once a message is complete."""

    def __init__(self, received: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body, self.whole = b"", 0
        try:
            httptools.HttpRequestParser(self).feed_data(received)
        except httptools.HttpParserError:
            self.whole = -1

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, part: bytes) -> None:
        self.body += part

    def on_message_complete(self) -> None:
        self.whole += 1


def message(body: bytes, extra: bytes = b"", length: bytes | None = None) -> bytes:
    return HEAD % (extra, b"%d" % len(body) if length is None else length) + body


def made(received: bytes) -> Alike:
    found = sample(received)
    assert found is not None
    return found


@given(BODIES, BODIES)
def test_a_message_with_the_same_head_gives_its_body(first: bytes, second: bytes) -> None:
    assert made(message(first)).body(message(second)) == second


@pytest.mark.parametrize("size", [0, 9, 10, 98, 99, 100, 101, 999, 1000, 9999, 10000, 10001])
def test_a_body_of_any_length_is_found(size: int) -> None:
    assert made(message(b"hello")).body(message(bytes(size))) == bytes(size)


@given(BODIES, LENGTHS, st.binary(max_size=20))
def test_what_is_taken_is_what_a_parser_reads(body: bytes, length: bytes, rest: bytes) -> None:
    received = message(body, length=length) + rest
    found = made(message(b"hello")).body(received)
    if found is not None:
        read = Reading(received)
        assert (read.whole, read.body) == (1, found)


@given(BODIES, st.data())
def test_any_other_byte_in_the_head_is_another_head(body: bytes, data: st.DataObject) -> None:
    received = bytearray(message(body))
    at = data.draw(st.integers(0, len(received) - len(body) - 1))
    received[at] ^= data.draw(st.integers(1, 255))
    found = made(message(b"hello")).body(bytes(received))
    if found is not None:  # a digit became another, and the body is as long as that
        assert Reading(bytes(received)).headers[0] == Reading(message(body)).headers[0]
        assert Reading(bytes(received)).body == found


@pytest.mark.parametrize(
    "extra",
    [b"Content-Length: 5\r\n", b"x: content-length: 5\r\n", b"transfer-encoding: chunked\r\n" * 2],
)
def test_an_unusual_head_is_read_each_time(extra: bytes) -> None:
    odd = message(b"hello", extra)
    found = sample(odd if b"chunked" not in extra else odd.replace(b"content-length: 5\r\n", b""))
    assert found is None


@pytest.mark.parametrize("received", [message(b"hello")[:-1], message(b"hello") * 2, b"", b"\r\n"])
def test_a_part_and_two_at_once_are_no_sample(received: bytes) -> None:
    assert sample(received) is None
    assert made(message(b"hello")).body(received) is None
