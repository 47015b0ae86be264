"""How a family of routes speaks: its errors, its streams, and where these end. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from inference import errors
from inference.events import MESSAGES, RESPONSES, EventStream, Grammar
from inference.sse import Events
from inference.stream import SseStream
from kernel.errors import GanglionError

_ENCODE = msgspec.json.Encoder().encode
# The types of Anthropic's errors by status: docs of its Messages API, "Errors".
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """``grammar`` of typed events; ``None``: chunks that end in ``[DONE]``."""

    body_of: Callable[[GanglionError], bytes]  # of an error, as a whole JSON answer
    frame_of: Callable[[GanglionError], bytes]  # the same inside a stream that has begun
    grammar: Grammar | None = None
    id_line: str = ""  # what begins a second line with a request's id, under their own name

    def stream(self, *, show_usage: bool) -> Events:
        if self.grammar is None:
            return SseStream(show_usage=show_usage)
        return EventStream(self.grammar)


def anthropic_body(error: GanglionError) -> bytes:
    """``{"type": "error", "error": {"type", "message"}}``."""
    return _ENCODE(_anthropic(error))


def _anthropic(error: GanglionError) -> dict[str, object]:
    status = errors.status_of(error)
    kind = _ANTHROPIC_TYPES.get(status)
    if kind is None:
        kind = "invalid_request_error" if 400 <= status < 500 else "api_error"
    return {"type": "error", "error": {"type": kind, "message": errors.words_of(error)}}


def _anthropic_frame(error: GanglionError) -> bytes:
    return b"event: error\ndata: " + anthropic_body(error) + b"\n\n"


def _responses_frame(error: GanglionError) -> bytes:
    """An ``error`` event; its member ``error`` makes the official clients raise."""
    said = errors.said_of(error)
    words = errors.words_of(error)
    event = {"type": "error", "message": words, "code": said.get("code"), "error": said}
    return b"event: error\ndata: " + _ENCODE(event) + b"\n\n"


OPENAI = Dialect(errors.body_of, errors.frame_of)
OPENAI_RESPONSES = Dialect(errors.body_of, _responses_frame, RESPONSES)
ANTHROPIC = Dialect(anthropic_body, _anthropic_frame, MESSAGES, errors.ANTHROPICS_ID)
