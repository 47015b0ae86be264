"""A batch of usage as it came over the wire: the pieces that can be read, and those that cannot.

One piece that is wrong must not hold back those behind it: it is set aside, word for word, and
the rest of the batch is what it would be without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, structs

from kernel.errors import BadInput, Malformed
from kernel.wire import encode
from kernel.wire.gateway import PIECES_MAX, VERSION, Segment, UsageBatch

REASON_CHARS_MAX = 300


@dataclass(frozen=True)
class Aside:
    """A piece that is not counted, to be kept with its reason. The same one has the same key."""

    key: str
    request_id: str  # "" where it could not be read
    content: str
    reason: str


@dataclass(frozen=True)
class Reading:
    """``batch`` holds what could be read."""

    batch: UsageBatch
    asides: list[Aside]


class _Unread(UsageBatch, kw_only=True, forbid_unknown_fields=True):
    """A batch whose pieces are not looked at yet."""

    segments: Annotated[list[Raw], Meta(max_length=PIECES_MAX)]  # type: ignore[assignment]


class _Named(msgspec.Struct):
    """Of which request a piece is, whatever else it says."""

    request_id: str = ""


def read_batch(body: bytes) -> Reading:
    """Raises ``Malformed`` when the body is no JSON, ``BadInput`` when what is around the pieces
    is wrong, or when a newer gateway says what this brain does not know: that is for later."""
    try:
        return Reading(msgspec.json.decode(body, type=UsageBatch), [])
    except msgspec.MsgspecError as error:
        first = error
    try:
        unread = msgspec.json.decode(body, type=_Unread)
    except msgspec.ValidationError as error:
        raise BadInput(f"Not a valid UsageBatch message: {error}.") from None
    except msgspec.DecodeError as error:
        raise Malformed(f"The body is not JSON: {error}.") from None
    if unread.v > VERSION:
        raise BadInput(f"Not a valid UsageBatch message of version {VERSION}: {first}.")
    read, asides = list[Segment](), list[Aside]()
    for raw in unread.segments:
        try:
            read.append(msgspec.json.decode(raw, type=Segment))
        except msgspec.MsgspecError as error:
            asides.append(_aside(bytes(raw), f"it cannot be read: {error}"))
    batch = UsageBatch(**{**structs.asdict(unread), "segments": read})
    return Reading(batch, asides)


def aside(segment: Segment, reason: str) -> Aside:
    """A piece that could be read, and not be stored."""
    return _aside(encode(segment), reason)


def _aside(content: bytes, reason: str) -> Aside:
    """Its own key may be wrong, or another's: this one is made of all that it says."""
    try:
        request_id = msgspec.json.decode(content, type=_Named).request_id
    except msgspec.MsgspecError:
        request_id = ""
    return Aside(
        key=f"aside_{sha256(content).hexdigest()}",
        request_id=storable(request_id)[:200],
        content=storable(content.decode("utf-8", "backslashreplace")),
        reason=storable(reason)[:REASON_CHARS_MAX],
    )


def storable(said: str) -> str:
    """PostgreSQL keeps every character but NUL."""
    return said.replace("\x00", "\\u0000")
