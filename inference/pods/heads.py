"""Heads of requests and answers as they are passed on: what is dropped, what is set. Pure.

Both sides are parsed and their framing is written anew, so that what the pod's server reads is
what was judged here: a request that two parsers could read differently is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

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
_SAID_ANEW = FORWARDED | {b"host"}  # of a request
# Naming these in Connection must not take them away.
KEPT = frozenset((b"host", b"content-length", b"content-type", b"expect"))
HEADERS_MAX = 200
WEBSOCKET = b"websocket"
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_BAD_BYTES = bytes(one for one in (*range(0x20), 0x7F) if one != 0x09)  # in values
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
    found = _sort(headers)
    if found is None:
        raise Malformed("A header of the request is malformed.")
    if len(found.hosts) != 1:
        raise Malformed("The request needs exactly one Host header.")
    length = _framing(len(headers), found, version)
    named = _named(found.connection)
    upgrade = [value.strip().lower() for value in found.upgrade]
    return Asked(
        method=method,
        target=target,
        host=found.hosts[0],
        headers=_unnamed(found.plain, named, _SAID_ANEW),
        length=length,
        expects=any(value.lower() == b"100-continue" for value in found.expect),
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
    found = _sort(headers)
    if found is None or not _is_sound(reason):
        raise nonsense()
    try:
        length = _framing(len(headers), found, "1.1", until_close=True)
    except Malformed:
        raise nonsense() from None
    kept = _unnamed(found.plain, _named(found.connection), frozenset())
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


@dataclass(slots=True)
class _Sorted:
    """Headers by what they are here for; ``plain``: those that may be passed on, in order."""

    plain: list[tuple[bytes, Header]]  # with the name in small letters
    hosts: list[bytes]
    lengths: list[bytes]
    codings: list[bytes]
    connection: list[bytes]
    upgrade: list[bytes]
    expect: list[bytes]


def _sort(headers: Sequence[Header]) -> _Sorted | None:
    """In one pass, since each request has two heads. ``None``: one of them is malformed."""
    found = _Sorted([], [], [], [], [], [], [])
    plain = found.plain
    for pair in headers:
        low = _small(pair[0])
        if low is None:
            return None
        if low not in _OWN:
            plain.append((low, pair))
        elif low == b"content-length":
            found.lengths.append(pair[1])
        elif low == b"host":
            found.hosts.append(pair[1])
            plain.append((low, pair))
        elif low == b"connection":
            found.connection.append(pair[1])
        elif low == b"transfer-encoding":
            found.codings.append(pair[1])
        elif low == b"upgrade":
            found.upgrade.append(pair[1])
        elif low == b"expect":
            found.expect.append(pair[1])
            plain.append((low, pair))
    return found if _is_sound(b" ".join([value for _, value in headers])) else None


# What is not simply passed on; the rest of the hop-by-hop ones is dropped.
_OWN = HOP_BY_HOP | {b"content-length", b"host", b"expect"}


@lru_cache(maxsize=1024)
def _small(name: bytes) -> bytes | None:
    """A header's name in small letters; ``None`` for what is no name."""
    return name.lower() if _NAME.match(name) else None


def _is_sound(text: bytes) -> bool:
    """There is no control character in it but the tab."""
    return len(text.translate(None, _BAD_BYTES)) == len(text)


def _unnamed(
    plain: Sequence[tuple[bytes, Header]], named: frozenset[bytes], dropped: frozenset[bytes]
) -> list[Header]:
    """Without those that Connection names, which are for this hop alone."""
    away = dropped | (named - KEPT) if named else dropped
    return [pair for low, pair in plain if low not in away]


def _named(values: Iterable[bytes]) -> frozenset[bytes]:
    return frozenset(
        token.strip().lower() for value in values for token in value.split(b",") if token.strip()
    )


def _framing(count: int, found: _Sorted, version: str, *, until_close: bool = False) -> int:
    """The body's length, -1 for chunks, and without either 0 (answers: -2, until the close)."""
    if count > HEADERS_MAX:
        raise Malformed(f"At most {HEADERS_MAX} headers are taken here.")
    lengths = [value.strip() for value in found.lengths]
    if found.codings and lengths:
        raise Malformed("Content-Length and Transfer-Encoding must not come together.")
    if found.codings:
        codings = [value.strip().lower() for value in found.codings]
        if codings != [b"chunked"] or version == "1.0":
            raise Malformed("The only transfer coding taken here is chunked.")
        return -1
    if len(lengths) > 1 or (lengths and not _DIGITS.match(lengths[0])):
        raise Malformed("Content-Length must be one number.")
    return int(lengths[0]) if lengths else (-2 if until_close else 0)
