"""A worker's answer as it comes, of whatever kind: what the client gets of it, and what became
of it. Pure; the streamed kind is :mod:`inference.stream`.
"""

from __future__ import annotations

import json
from enum import Enum, auto
from typing import Any

import msgspec

from inference.errors import WorkerError, worker_error
from inference.meter import Tokens
from inference.stream import Phase, SseStream, Usage

KEPT_BYTES_MAX = 64 * 1024  # a longer plain answer is passed on as it comes
TAIL_BYTES = 16 * 1024
EVENT_STREAM = b"text/event-stream"


class State(Enum):
    WAITING = auto()  # nothing for the client yet: another worker may be tried
    GOING = auto()
    COMPLETE = auto()
    REFUSED = auto()  # a whole answer that is not a success; ``status`` and ``refusal`` tell
    BROKEN = auto()  # not a whole answer; ``reason`` tells


class _Body(msgspec.Struct):
    usage: Usage | None = None
    error: Any = None


_BODY = msgspec.json.Decoder(_Body).decode
_USAGE = msgspec.json.Decoder(Usage).decode
_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class Answer:
    """Call ``head`` once, ``feed`` for each piece, ``end`` when the framing says so."""

    __slots__ = (
        "_parts",
        "_show_usage",
        "_size",
        "_tail",
        "_usage",
        "kind",
        "length",
        "reason",
        "refusal",
        "retry_after",
        "state",
        "status",
        "stream",
    )

    def __init__(self, *, show_usage: bool) -> None:
        self.state = State.WAITING
        self.status = 0
        self.kind = b""
        self.length = -1  # of a plain answer, when it was told
        self.retry_after: int | None = None
        self.refusal = b""
        self.reason = ""
        self.stream: SseStream | None = None
        self._show_usage = show_usage
        self._parts: list[bytes] = []
        self._size = 0
        self._tail = b""
        self._usage: Usage | None = None

    def head(self, status: int, kind: bytes, length: int, retry_after: bytes) -> None:
        self.status, self.kind, self.length = status, kind, length
        if retry_after:
            self.retry_after = int(retry_after[:6]) if retry_after.isdigit() else None
        if status == 200 and kind[: len(EVENT_STREAM)].lower() == EVENT_STREAM:
            self.stream = SseStream(show_usage=self._show_usage)

    def feed(self, received: bytes) -> bytes:
        """What the client gets now. Look at ``state`` after each call."""
        stream = self.stream
        if stream is None:
            self._size += len(received)
            if self._size <= KEPT_BYTES_MAX:
                self._parts.append(received)
                return b""
            return self._feed_long(received)
        content = stream.feed(received)
        phase = stream.phase
        if phase is Phase.FLOWING:
            self.state = State.GOING
        elif phase is Phase.DONE:
            self.state = State.COMPLETE
        elif phase is Phase.BROKEN:
            self._break(stream.reason)
        return content

    def end(self) -> bytes:
        """The framing says that this was all. What the client still gets."""
        if self.state in (State.COMPLETE, State.BROKEN):
            return b""
        if self.stream is not None:
            self.stream.close()
            self._break(self.stream.reason)
            return b""
        parts = self._parts
        content = parts[0] if len(parts) == 1 else b"".join(parts)
        if self.status != 200:
            self.refusal = content
            self.state = State.REFUSED
            return b""
        if self.state is State.GOING:
            self._usage = usage_in_tail(self._tail)
            self.state = State.COMPLETE
            return b""
        return self._end_plain(content)

    def lost(self, reason: str) -> None:
        """The bytes ended before the framing said so."""
        if self.state in (State.WAITING, State.GOING):
            if self.stream is not None:
                self.stream.close()
            self._break(reason)

    def tokens(self) -> Tokens:
        """Prompt tokens, completion tokens, whether estimated."""
        if self.stream is not None:
            return self.stream.tokens()
        usage = self._usage
        if usage is None:
            return 0, 0, True
        return usage.prompt_tokens or 0, usage.completion_tokens or 0, False

    def said(self) -> WorkerError | None:
        """What the worker wrote about its failure, if it wrote anything."""
        if self.stream is not None:
            return self.stream.error
        try:
            said = _BODY(self.refusal).error
        except _ERRORS:
            return None
        return worker_error(said) if said else None

    def _feed_long(self, received: bytes) -> bytes:
        """A plain answer too long to be kept: from here on it is passed on as it comes."""
        if self.state is State.GOING:
            self._tail = (self._tail + received)[-TAIL_BYTES:]
            return received
        if self.status != 200:
            return b""  # enough is known of a failure
        self._parts.append(received)
        content = b"".join(self._parts)
        self._parts.clear()
        self._tail = content[-TAIL_BYTES:]
        self.state = State.GOING
        return content

    def _end_plain(self, content: bytes) -> bytes:
        try:
            body = _BODY(content)
        except _ERRORS:
            self._break("the answer is not a JSON object")
            return b""
        if body.error:
            self.refusal = content
            self._break("an error under status 200")
            return b""
        self._usage = body.usage
        self.state = State.COMPLETE
        return content

    def _break(self, reason: str) -> None:
        self.reason = reason
        self.state = State.BROKEN


def usage_in_tail(tail: bytes) -> Usage | None:
    """The usage in the last bytes of an answer too long to be kept: the last whole ``usage``."""
    text = tail.decode(errors="replace")
    decoder = json.JSONDecoder()
    at = len(text)
    while (at := text.rfind('"usage"', 0, at)) >= 0:
        value = text[at + len('"usage"') :].lstrip()
        if not value.startswith(":"):
            continue
        try:
            found, _ = decoder.raw_decode(value[1:].lstrip())
            return _USAGE(json.dumps(found)) if isinstance(found, dict) else None
        except (ValueError, RecursionError, msgspec.MsgspecError):
            continue
    return None
