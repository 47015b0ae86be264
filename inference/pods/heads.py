"""Heads of requests and answers as they are passed on: what is dropped, what is set. Pure.

Both sides are parsed and their framing is written anew, so that what the pod's server reads is
what was judged here: a request that two parsers could read differently is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kernel.errors import Malformed, UpstreamFailed

Header = tuple[bytes, bytes]

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization"
    b" te trailer transfer-encoding upgrade".split()
)
# Said by this front alone; whatever a client writes there is dropped.
FORWARDED = frozenset(
    b"forwarded x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port"
    b" x-forwarded-server x-real-ip".split()
)
# Naming these in Connection must not take them away.
KEPT = frozenset((b"host", b"content-length", b"content-type", b"expect"))
HEADERS_MAX = 200
WEBSOCKET = b"websocket"
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BAD_TARGET = re.compile(rb"[\x00-\x20\x7f]")
_DIGITS = re.compile(rb"[0-9]{1,18}\Z")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sent a request, and how."""

    address: str
    proto: str  # http or https


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's head that has been judged. ``length`` is -1 where the body is in chunks."""

    method: bytes
    target: bytes
    host: bytes
    headers: Sequence[Header]  # without hop-by-hop ones, names as they came
    length: int
    expects: bool
    websocket: bool
    minor: int  # 1: HTTP/1.1

    @property
    def has_body(self) -> bool:
        return self.length != 0

    @property
    def may_repeat(self) -> bool:
        """Nothing is lost when it is sent twice, and all of it is in the head."""
        return self.method in (b"GET", b"HEAD", b"OPTIONS") and not self.has_body


def judge(method: bytes, target: bytes, version: str, headers: Sequence[Header]) -> Asked:
    """The request's head. Raises ``Malformed`` for what must not be passed on."""
    if version not in ("1.1", "1.0"):
        raise Malformed("This server speaks HTTP/1.1.")
    if not (target.startswith(b"/") or target == b"*") or _BAD_TARGET.search(target):
        raise Malformed("The request's target must be a path.")
    lines = [(name, name.lower(), value) for name, value in headers]
    for name, _, value in lines:
        if not _NAME.match(name) or _BAD_VALUE.search(value):
            raise Malformed("A header of the request is malformed.")
    hosts = [value for _, low, value in lines if low == b"host"]
    if len(hosts) != 1:
        raise Malformed("The request needs exactly one Host header.")
    length = _framing([(low, value) for _, low, value in lines], version)
    named = _named(value for _, low, value in lines if low == b"connection")
    upgrade = [value.strip().lower() for _, low, value in lines if low == b"upgrade"]
    kept = [
        (name, value)
        for name, low, value in lines
        if low not in HOP_BY_HOP
        and low not in FORWARDED
        and (low in KEPT or low not in named)
        and low not in (b"content-length", b"host")
    ]
    expects = [value for _, low, value in lines if low == b"expect"]
    return Asked(
        method=method,
        target=target,
        host=hosts[0],
        headers=kept,
        length=length,
        expects=any(value.lower() == b"100-continue" for value in expects),
        websocket=upgrade == [WEBSOCKET]
        and b"upgrade" in named
        and method == b"GET"
        and length == 0
        and version == "1.1",
        minor=int(version[-1]),
    )


def request_head(asked: Asked, peer: Peer) -> bytes:
    """The head as the pod's server gets it."""
    lines = [
        b"%b %b HTTP/1.1" % (asked.method, asked.target),
        b"Host: " + asked.host,
        *(b"%b: %b" % pair for pair in asked.headers),
        b"X-Forwarded-For: " + peer.address.encode("ascii"),
        b"X-Forwarded-Proto: " + peer.proto.encode("ascii"),
        b"X-Forwarded-Host: " + asked.host,
    ]
    if asked.length < 0:
        lines.append(b"Transfer-Encoding: chunked")
    elif asked.length > 0 or asked.method in (b"POST", b"PUT", b"PATCH"):
        lines.append(b"Content-Length: %d" % asked.length)
    if asked.websocket:
        lines += [b"Connection: Upgrade", b"Upgrade: websocket"]
    return b"\r\n".join(lines) + b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer's head that has been judged. ``length``: -1 in chunks, -2 until the close."""

    status: int
    reason: bytes
    headers: Sequence[Header]
    length: int


def judge_answer(status: int, reason: bytes, headers: Sequence[Header]) -> Answered:
    """The answer's head. Raises ``UpstreamFailed`` for what no client could read safely."""
    lines = [(name, name.lower(), value) for name, value in headers]
    if _BAD_VALUE.search(reason) or any(
        not _NAME.match(name) or _BAD_VALUE.search(value) for name, _, value in lines
    ):
        raise nonsense()
    try:
        length = _framing([(low, value) for _, low, value in lines], "1.1", until_close=True)
    except Malformed:
        raise nonsense() from None
    named = _named(value for _, low, value in lines if low == b"connection")
    kept = [
        (name, value)
        for name, low, value in lines
        if low not in HOP_BY_HOP and low != b"content-length" and (low in KEPT or low not in named)
    ]
    return Answered(status, reason, kept, length)


def answer_head(answered: Answered, *, minor: int, bodiless: bool, keep: bool) -> bytes:
    """The head as the client gets it. ``bodiless``: to HEAD, or a status without a body."""
    lines = [
        b"HTTP/1.1 %d %b" % (answered.status, answered.reason),
        *(b"%b: %b" % pair for pair in answered.headers),
    ]
    if answered.length >= 0 and answered.status != 204:
        lines.append(b"Content-Length: %d" % answered.length)
    elif minor == 1 and not bodiless:
        lines.append(b"Transfer-Encoding: chunked")
    if not keep:
        lines.append(b"Connection: close")
    elif minor == 0:
        lines.append(b"Connection: keep-alive")
    return b"\r\n".join(lines) + b"\r\n\r\n"


def interim_head(answered: Answered) -> bytes:
    """100 Continue and its kin, which precede the answer."""
    lines = [
        b"HTTP/1.1 %d %b" % (answered.status, answered.reason),
        *(b"%b: %b" % pair for pair in answered.headers),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def switching_head(answered: Answered) -> bytes:
    """101: from here on both sides speak WebSocket."""
    lines = [
        b"HTTP/1.1 101 %b" % (answered.reason or b"Switching Protocols"),
        *(b"%b: %b" % pair for pair in answered.headers),
        b"Connection: Upgrade",
        b"Upgrade: websocket",
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def client_of(address: str, headers: Sequence[Header], trusted: frozenset[str]) -> Peer:
    """Who asks: the peer itself, or what a trusted proxy says of the one before it."""
    if address not in trusted:
        return Peer(address, "http")
    proto, said = "http", b""
    for name, value in headers:
        low = name.lower()
        if low == b"x-forwarded-for":
            said = value if not said else said + b"," + value
        elif low == b"x-forwarded-proto" and value.strip().lower() == b"https":
            proto = "https"
    for one in reversed(said.decode("latin-1").split(",")):
        hop = one.strip()
        if hop and hop not in trusted:
            return Peer(hop if re.fullmatch(r"[0-9a-fA-F:.]{2,45}", hop) else address, proto)
    return Peer(address, proto)


def nonsense() -> UpstreamFailed:
    return UpstreamFailed("What this port of the pod answers is not HTTP.", code="pod_garbled")


def _named(values: Iterable[bytes]) -> frozenset[bytes]:
    return frozenset(
        token.strip().lower() for value in values for token in value.split(b",") if token.strip()
    )


def _framing(lines: Sequence[Header], version: str, *, until_close: bool = False) -> int:
    """The body's length, -1 for chunks, and without either 0 (answers: -2, until the close)."""
    if len(lines) > HEADERS_MAX:
        raise Malformed(f"At most {HEADERS_MAX} headers are taken here.")
    lengths = [value.strip() for low, value in lines if low == b"content-length"]
    codings = [value.strip().lower() for low, value in lines if low == b"transfer-encoding"]
    if codings and lengths:
        raise Malformed("Content-Length and Transfer-Encoding must not come together.")
    if codings:
        if codings != [b"chunked"] or version == "1.0":
            raise Malformed("The only transfer coding taken here is chunked.")
        return -1
    if len(lengths) > 1 or (lengths and not _DIGITS.match(lengths[0])):
        raise Malformed("Content-Length must be one number.")
    return int(lengths[0]) if lengths else (-2 if until_close else 0)
