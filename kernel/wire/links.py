"""Links from agents to gateways, version 1: the agent connects, the gateway speaks over it.

Agent -> gateway: ``GET /agent/link`` with ``Upgrade: worker-link``, the headers below and a MAC
under the lease's link key. Gateway -> agent: 101 with a MAC of its own, or a refusal with a
sentence. From then on:

- port ``control``: lines. Gateway: ``need N port P`` (open N more raw links), ``drain`` (this
  gateway stops: open none). Agent: ``refuse N port P REASON`` (so many will not come); ``tells
  fates`` as its first line, where it says ``fate NUMBER begun`` or ``fate NUMBER unread`` of each
  raw link to the worker that ended: whether the work took what that link carried last. Either side
  skips a line that it does not know, so an older agent is one that tells no fates.
- any other port: raw bytes, to and from what that port stands for on the node: ``worker`` (the
  work's own port), ``exec`` (a shell, ``wire.shell``), or a port inside the container.

The MAC is bound to the gateway's boot, so that a recorded request opens nothing at another, and
to a number that a gateway takes once. Numbers begin at the host's boot clock in ns: a later start
of the agent is above all earlier ones, and a new boot of the host holds no lease.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass

from kernel.errors import Malformed, Unauthenticated

PATH = "/agent/link"
UPGRADE = "worker-link"
WORKER, EXEC, CONTROL = "worker", "exec", "control"
BEGUN, UNREAD = "begun", "unread"
HEAD_BYTES_MAX = 2048
LINE_BYTES_MAX = 512
NEED_MAX = 1024  # links that one line may ask for
NUMBER_MAX = 2**63 - 1
WINDOW = 1024  # how far links may overtake each other on their way
KEY_BYTES = 32
HEAD_END = b"\r\n\r\n"

_REQUEST_LINE = f"GET {PATH} HTTP/1.1"
_FIELDS = ("lease", "epoch", "port", "gateway", "number", "mac")
_NAMES = {f"x-ganglion-{field}": field for field in _FIELDS}
_ANSWER_MAC = "x-ganglion-mac"
_TEXT_MAX = 200
_REASONS = {400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 408: "Request Timeout"}
_REASONS |= {409: "Conflict", 429: "Too Many Requests", 503: "Service Unavailable"}


@dataclass(frozen=True)
class LinkRequest:
    """What one link is for. ``gateway`` is the gateway's boot id."""

    lease_id: str
    epoch: int
    port: int | str
    gateway: str
    number: int


@dataclass(frozen=True)
class Asked:
    """A request as it came: not proved until :func:`check` passed."""

    link: LinkRequest
    mac: str


class Numbers:
    """Each number once, within a window below the highest."""

    def __init__(self) -> None:
        self._highest = 0
        self._seen = (1 << WINDOW) - 1  # all that was before is taken as used

    def take(self, number: int) -> bool:
        """True when the number was not used before."""
        if number > self._highest:
            step = min(number - self._highest, WINDOW)
            if self._highest == 0:
                self._seen, step = 0, 0  # the first link may have been overtaken, too
            self._seen = ((self._seen << step) | 1) & ((1 << WINDOW) - 1)
            self._highest = number
            return True
        behind = self._highest - number
        if number < 1 or behind >= WINDOW or self._seen >> behind & 1:
            return False
        self._seen |= 1 << behind
        return True


def request_head(link: LinkRequest, key: bytes, host: str) -> bytes:
    """The agent's request; ``host`` is the gateway's, for proxies on the way."""
    lines = (
        _REQUEST_LINE,
        f"Host: {host}",
        "Connection: Upgrade",
        f"Upgrade: {UPGRADE}",
        f"X-Ganglion-Lease: {link.lease_id}",
        f"X-Ganglion-Epoch: {link.epoch}",
        f"X-Ganglion-Port: {link.port}",
        f"X-Ganglion-Gateway: {link.gateway}",
        f"X-Ganglion-Number: {link.number}",
        f"X-Ganglion-Mac: {_mac(key, 'request', link)}",
    )
    return "\r\n".join(lines).encode() + HEAD_END


def read_request(head: bytes) -> Asked:
    """The request in a whole head, up to its empty line. Raises ``Malformed``."""
    first, fields = _read_head(head)
    if first != _REQUEST_LINE:
        raise Malformed(f"Links begin with '{_REQUEST_LINE}'.")
    if fields.get("upgrade", "").lower() != UPGRADE:
        raise Malformed(f"Links say 'Upgrade: {UPGRADE}'.")
    found = {field: fields.get(name, "") for name, field in _NAMES.items()}
    for field, text in found.items():
        if not 1 <= len(text) <= _TEXT_MAX:
            raise Malformed(f"The header X-Ganglion-{field.capitalize()} is missing or too long.")
    link = LinkRequest(
        lease_id=found["lease"],
        epoch=_whole(found["epoch"], "epoch"),
        port=read_port(found["port"]),
        gateway=found["gateway"],
        number=_whole(found["number"], "number"),
    )
    return Asked(link, found["mac"])


def check(asked: Asked, key: bytes) -> None:
    """Raises ``Unauthenticated`` when whoever asked does not have the lease's link key."""
    expected = _mac(key, "request", asked.link)
    if not hmac.compare_digest(expected.encode(), asked.mac.encode()):
        raise Unauthenticated("This link's MAC is wrong.")


def accept_head(link: LinkRequest, key: bytes) -> bytes:
    """The gateway's 101, with its own proof that it knows the key."""
    lines = (
        "HTTP/1.1 101 Switching Protocols",
        "Connection: Upgrade",
        f"Upgrade: {UPGRADE}",
        f"X-Ganglion-Mac: {_mac(key, 'answer', link)}",
    )
    return "\r\n".join(lines).encode() + HEAD_END


def refuse_head(status: int, reason: str) -> bytes:
    """A refusal, after which the gateway closes."""
    body = reason.encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Refused')}\r\nConnection: close\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}"
    )
    return head.encode() + HEAD_END + body


def check_answer(head: bytes, link: LinkRequest, key: bytes) -> None:
    """Raises ``Unauthenticated`` unless the head is a 101 of a gateway that knows the key."""
    first, fields = _read_head(head)
    if not first.startswith("HTTP/1.1 101"):
        raise Unauthenticated(f"The gateway refused the link: {first[:_TEXT_MAX]}")
    expected = _mac(key, "answer", link)
    if not hmac.compare_digest(expected.encode(), fields.get(_ANSWER_MAC, "").encode()):
        raise Unauthenticated("What answered is not the gateway that the brain named.")


# Lines of control links.


@dataclass(frozen=True)
class Need:
    """Open so many more raw links to this port."""

    count: int
    port: int | str


@dataclass(frozen=True)
class Refuse:
    """So many of the links that were asked for will not come."""

    count: int
    port: int | str
    reason: str


@dataclass(frozen=True)
class Drain:
    """The gateway stops: open no more links to it."""


@dataclass(frozen=True)
class Tells:
    """This agent tells fates."""


@dataclass(frozen=True)
class Fate:
    """Whether the work took what the raw link of this number carried last."""

    number: int
    begun: bool


Line = Need | Refuse | Drain | Tells | Fate


def write_line(line: Line) -> bytes:
    match line:
        case Need(count, port):
            return f"need {count} port {port}\n".encode()
        case Refuse(count, port, reason):
            words = " ".join(reason.split())[:_TEXT_MAX]
            return f"refuse {count} port {port} {words}\n".encode()
        case Drain():
            return b"drain\n"
        case Tells():
            return b"tells fates\n"
        case Fate(number, begun):
            return f"fate {number} {BEGUN if begun else UNREAD}\n".encode()


class Lines:
    """Bytes in as they come, whole lines out. Raises ``Malformed``; unknown words are skipped."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, received: bytes) -> Iterator[Line]:
        *whole, self._rest = (self._rest + received).split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            raise Malformed("A line of this control link is too long.")
        for text in whole:
            line = _read_line(text)
            if line is not None:
                yield line


def _read_line(text: bytes) -> Line | None:
    if len(text) > LINE_BYTES_MAX:
        raise Malformed("A line of this control link is too long.")
    words = text.decode("utf-8", "replace").split(maxsplit=4)
    match words:
        case ["need", count, "port", port]:
            return Need(_count(count), read_port(port))
        case ["refuse", count, "port", port, *reason]:
            return Refuse(_count(count), read_port(port), " ".join(reason))
        case ["drain"]:
            return Drain()
        case ["tells", "fates"]:
            return Tells()
        case ["fate", number, ("begun" | "unread") as how]:
            return Fate(_whole(number, "number"), how == BEGUN)
        case _:
            return None  # a later version may say more


def read_port(text: str) -> int | str:
    """``worker``, ``exec``, ``control`` or a number. Raises ``Malformed``."""
    if text in (WORKER, EXEC, CONTROL):
        return text
    port = _whole(text, "port")
    if not 0 < port < 65536:
        raise Malformed("The port of a link lies between 1 and 65535.")
    return port


def _count(text: str) -> int:
    count = _whole(text, "count")
    if not 0 < count <= NEED_MAX:
        raise Malformed(f"Ask for 1 to {NEED_MAX} links in a line.")
    return count


def _whole(text: str, what: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20) or int(text) > NUMBER_MAX:
        raise Malformed(f"The {what} of a link is a whole number.")
    return int(text)


def _read_head(head: bytes) -> tuple[str, dict[str, str]]:
    """First line and fields by lower-case name; a field of ours that comes twice is refused."""
    if len(head) > HEAD_BYTES_MAX:
        raise Malformed("This head is too long for a link.")
    try:
        first, *lines = head.partition(HEAD_END)[0].decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        raise Malformed("The head of a link is ASCII.") from None
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, text = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip():
            raise Malformed("The head of this link holds a line that is no header.")
        if name in fields and name.startswith("x-ganglion-"):
            raise Malformed(f"The header {name} comes twice.")
        if not text.strip().isprintable():
            raise Malformed("The head of this link holds control characters.")
        fields[name] = text.strip()
    return first, fields


def _mac(key: bytes, side: str, link: LinkRequest) -> str:
    text = (
        f"ganglion-link-v1\n{side}\n{link.lease_id}\n{link.epoch}\n{link.port}"
        f"\n{link.gateway}\n{link.number}"
    )
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
