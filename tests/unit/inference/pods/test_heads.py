"""Heads as they are passed on, and those that are not."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.pods import heads
from inference.pods.heads import Asked, Header, Peer
from kernel.errors import Malformed, UpstreamFailed

pytestmark = pytest.mark.feature("E3")
HOST: Header = (b"Host", b"mypod-80.localhost")
PEER = Peer("198.51.100.7", "https")


def judged(*headers: Header, method: bytes = b"GET", version: str = "1.1") -> Asked:
    return heads.judge(method, b"/x", version, [HOST, *headers])


class Reader:
    """What a server's parser makes of a head."""

    def __init__(self, head: bytes) -> None:
        self.headers: list[Header] = []
        self.complete = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(head)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True

    def all(self, name: bytes) -> list[bytes]:
        return [value for low, value in self.headers if low == name]


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")],
        [(b"Content-Length", b"5"), (b"Content-Length", b"5")],
        [(b"Content-Length", b"5"), (b"content-length", b"6")],
        [(b"Content-Length", b"5, 5")],
        [(b"Content-Length", b"+5")],
        [(b"Content-Length", b"-1")],
        [(b"Content-Length", b"0x5")],
        [(b"Content-Length", b"")],
        [(b"Content-Length", b"9" * 19)],
        [(b"Transfer-Encoding", b"gzip, chunked")],
        [(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
        [(b"Transfer-Encoding", b"xchunked")],
        [(b"Transfer-Encoding", b"identity")],
        [(b"Host", b"other")],
        [(b"A b", b"c")],
        [(b"A", b"b\r\nTransfer-Encoding: chunked")],
        [(b"A", b"b\x00")],
        [(b"A", b"1")] * 201,
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(headers: list[Header]) -> None:
    with pytest.raises(Malformed):
        judged(*headers)


@pytest.mark.parametrize("target", [b"", b"x", b"http://other/", b"/a b", b"/a\r\nX: y", b"/\x7f"])
def test_targets_are_paths(target: bytes) -> None:
    with pytest.raises(Malformed):
        heads.judge(b"GET", target, "1.1", [HOST])


def test_a_host_is_needed_and_chunks_are_not_for_http_1_0() -> None:
    with pytest.raises(Malformed):
        heads.judge(b"GET", b"/", "1.0", [])
    with pytest.raises(Malformed):
        judged((b"Transfer-Encoding", b"chunked"), version="1.0")


def test_hop_by_hop_headers_and_a_clients_own_forwarded_ones_are_dropped() -> None:
    asked = judged(
        (b"Connection", b"close, X-Secret, Host, content-length, Content-Type"),
        (b"Content-Type", b"text/plain"),
        (b"X-Secret", b"1"),
        (b"Keep-Alive", b"5"),
        (b"TE", b"trailers"),
        (b"Trailer", b"X"),
        (b"Proxy-Authorization", b"Basic x"),
        (b"Upgrade", b"h2c"),
        (b"X-Forwarded-For", b"6.6.6.6"),
        (b"x-forwarded-host", b"evil"),
        (b"Forwarded", b"for=6.6.6.6"),
        (b"X-Real-IP", b"6.6.6.6"),
        (b"Authorization", b"Bearer theirs"),
        (b"Content-Length", b"3"),
        method=b"POST",
    )
    seen = Reader(heads.request_head(asked, PEER))
    names = {name for name, _ in seen.headers}
    assert names == {b"host", b"authorization", b"content-length", b"content-type"} | {
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
    }
    assert seen.all(b"x-forwarded-for") == [b"198.51.100.7"]
    assert seen.all(b"x-forwarded-proto") == [b"https"]
    assert seen.all(b"content-length") == [b"3"]


NAME = st.from_regex(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}\Z", fullmatch=True)
VALUE = st.binary(max_size=40)
FRAMES = st.sampled_from([b"Content-Length", b"Transfer-Encoding", b"Host", b"Connection"])
PAIRS = st.lists(
    st.tuples(
        st.one_of(NAME, FRAMES),
        st.one_of(VALUE, st.sampled_from([b"5", b"chunked", b"close", b"upgrade", b"a\r\nb: c"])),
    ),
    max_size=8,
)


@given(PAIRS, st.sampled_from([b"GET", b"POST", b"PUT"]))
def test_what_passes_is_read_by_a_server_as_it_was_judged(
    pairs: list[Header], method: bytes
) -> None:
    try:
        asked = heads.judge(method, b"/x", "1.1", [HOST, *pairs])
    except Malformed:
        return
    seen = Reader(heads.request_head(asked, PEER))
    assert seen.complete
    assert seen.all(b"host") == [HOST[1]]
    framing = len(seen.all(b"content-length")) + len(seen.all(b"transfer-encoding"))
    assert framing == int(asked.length != 0 or method != b"GET")
    if asked.length > 0:
        assert seen.all(b"content-length") == [b"%d" % asked.length]
    assert seen.all(b"x-forwarded-for") == [b"198.51.100.7"]


@given(PAIRS, st.integers(200, 599))
def test_an_answer_that_passes_has_one_framing(pairs: list[Header], status: int) -> None:
    try:
        answered = heads.judge_answer(status, b"Fine", pairs)
    except UpstreamFailed:
        return
    head = heads.answer_head(answered, minor=1, bodiless=False, keep=True).lower()
    lines = head.split(b"\r\n")
    framing = [x for x in lines if x.startswith((b"content-length:", b"transfer-encoding:"))]
    assert len(framing) == int(status != 204 or answered.length < 0)
    assert not any(x.startswith((b"connection:", b"upgrade:")) for x in lines)


def test_websocket_is_asked_for_by_a_plain_get_alone() -> None:
    upgrade = ((b"Connection", b"keep-alive, Upgrade"), (b"Upgrade", b"WebSocket"))
    assert judged(*upgrade).websocket
    assert not judged(*upgrade, method=b"POST").websocket
    assert not judged(*upgrade, (b"Content-Length", b"1")).websocket
    assert not judged((b"Upgrade", b"websocket")).websocket
    assert not judged((b"Connection", b"upgrade"), (b"Upgrade", b"h2c")).websocket


@pytest.mark.parametrize(
    ("said", "address"),
    [
        (b"203.0.113.7", "203.0.113.7"),
        (b"6.6.6.6, 203.0.113.7", "203.0.113.7"),
        (b"203.0.113.7, 127.0.0.1", "203.0.113.7"),
        (b"2001:db8::1", "2001:db8::1"),
        (b"<script>", "127.0.0.1"),
        (b"", "127.0.0.1"),
    ],
)
def test_a_trusted_proxys_word_is_read_from_the_right(said: bytes, address: str) -> None:
    headers = [(b"X-Forwarded-For", said), (b"X-Forwarded-Proto", b"https")]
    trusted = frozenset(("127.0.0.1",))
    assert heads.client_of("127.0.0.1", headers, trusted) == Peer(address, "https")
    assert heads.client_of("198.51.100.1", headers, trusted) == Peer("198.51.100.1", "http")
