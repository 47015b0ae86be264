"""Events of OpenAI's Realtime interface, as far as they are served: read and written. Pure."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from inference.errors import WorkerRefused, words_of
from inference.realtime.outlet import Event
from kernel.errors import GanglionError, Malformed, NotFound

T = TypeVar("T")
DECODE_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class Head(msgspec.Struct):
    """What every event has."""

    type: str
    event_id: str | None = None


class Append(msgspec.Struct):
    audio: bytes  # base64 in the JSON


class SessionUpdate(msgspec.Struct):
    session: dict[str, Any]


class Wish(msgspec.Struct):
    """What one response is to be like where it differs from its session."""

    instructions: str | None = None
    output_modalities: list[str] | None = None
    max_output_tokens: int | str | None = None
    metadata: dict[str, str] | None = None
    input: list[Any] | None = None
    tools: list[Any] | None = None


class ResponseCreate(msgspec.Struct):
    response: Wish | None = None


class ResponseCancel(msgspec.Struct):
    response_id: str | None = None


class Content(msgspec.Struct):
    type: str = ""
    text: str | None = None
    transcript: str | None = None


class NewItem(msgspec.Struct):
    type: str = "message"
    role: str = ""
    content: list[Content] = []
    id: str | None = None


class ItemCreate(msgspec.Struct):
    item: NewItem
    previous_item_id: str | None = None


class ItemNamed(msgspec.Struct):
    item_id: str
    audio_end_ms: int = 0


_HEAD = msgspec.json.Decoder(Head)
_BODIES: dict[type, Any] = {}


def head(content: bytes) -> Head:
    """What kind of event this is. Raises ``Malformed``."""
    try:
        return _HEAD.decode(content)
    except DECODE_ERRORS:
        raise Malformed(
            "An event is a JSON object with a type, such as"
            ' {"type": "input_audio_buffer.append", "audio": "..."}.',
            code="invalid_event",
        ) from None


def body(content: bytes, kind: type[T]) -> T:
    """The event's own members. Raises ``Malformed`` with the member at fault."""
    decoder = _BODIES.get(kind)
    if decoder is None:
        decoder = _BODIES[kind] = msgspec.json.Decoder(kind)
    try:
        found: T = decoder.decode(content)
    except DECODE_ERRORS as error:
        param = str(error).rpartition("`$.")[2].rstrip("`") if "`$." in str(error) else None
        named = f"{param} is" if param else "A member of it is"
        raise Malformed(
            f"This event cannot be understood: {named} missing or wrong.",
            param=param,
            code="invalid_event",
        ) from None
    return found


def unknown(kind: str) -> GanglionError:
    return NotFound(f"Events of type {kind[:80]!r} are not served here.", code="unknown_event")


def said_of(error: GanglionError) -> Event:
    """What is told of it wherever an event has an ``error``; a worker's refusal in its words."""
    code = "worker_refused" if isinstance(error, WorkerRefused) else error.error_code
    return {"type": error.openai_type, "code": code, "message": words_of(error)}


def error_event(error: GanglionError, event_id: str | None, own_id: str) -> Event:
    """An ``error`` event; ``event_id`` is the client's event that caused it."""
    told = {**said_of(error), "param": error.param, "event_id": event_id}
    return {"type": "error", "event_id": own_id, "error": told}
