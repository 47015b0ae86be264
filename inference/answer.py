"""A worker's answer: what the client gets of it, and what became of it. Pure; the streamed kind
is :mod:`inference.stream`.
"""

from __future__ import annotations

import json
from enum import Enum, auto
from typing import Any

import msgspec

from inference.errors import WorkerError, worker_error
from inference.meter import Tokens
from inference.routes import Route
from inference.sse import Events, Phase, Usage
from inference.stream import ABORTED

TAIL_BYTES = 16 * 1024
EVENT_STREAM = b"text/event-stream"
JSON = b"application/json"
UNKNOWN: Tokens = (0, 0, True)


FAILED = "failed"  # the status of a response that is none


class State(Enum):
    WAITING = auto()  # nothing for the client yet: another worker may be tried
    GOING = auto()
    COMPLETE = auto()
    REFUSED = auto()  # a whole answer that is not a success; ``status`` and ``refusal`` tell
    BROKEN = auto()  # not a whole answer; ``reason`` tells


class _Choice(msgspec.Struct, gc=False):
    finish_reason: Any = None


class _Body(msgspec.Struct, gc=False):
    usage: Usage | None = None
    choices: list[_Choice] | None = None
    error: Any = None
    status: Any = None


_BODY = msgspec.json.Decoder(_Body).decode
_USAGE = msgspec.json.Decoder(Usage).decode
_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class NotAnAnswer(Exception):
    """Status 200, but not the JSON object of a success. The words say why."""


def usage_of(content: bytes) -> Tokens:
    """The tokens that a whole plain answer tells. Raises ``NotAnAnswer``."""
    try:
        body = _BODY(content)
    except _ERRORS:
        raise NotAnAnswer("the answer is not a JSON object") from None
    if body.error:
        raise NotAnAnswer("an error under status 200")
    if body.status == FAILED:
        raise NotAnAnswer("the worker says that it failed")
    for choice in body.choices or ():
        if choice.finish_reason == ABORTED:
            raise NotAnAnswer("the worker gave it up")
    return _tokens(body.usage)


def tokens_of(kind: bytes, content: bytes) -> Tokens:
    """The same of an answer that need not be JSON."""
    return usage_of(content) if kind[: len(JSON)].lower() == JSON else UNKNOWN


class Answer:
    """One answer: whole at once by ``take``, or as it comes by ``head``, ``feed`` and ``end``."""

    __slots__ = (
        "_route",
        "_show_usage",
        "_tail",
        "kind",
        "length",
        "reason",
        "refusal",
        "retry_after",
        "state",
        "status",
        "stream",
        "tokens_told",
    )

    def __init__(self, route: Route, *, show_usage: bool) -> None:
        self.state = State.WAITING
        self.status = 0
        self.kind = b""
        self.length = -1  # of a plain answer, when it was told
        self.retry_after: int | None = None
        self.refusal = b""
        self.reason = ""
        self.stream: Events | None = None
        self.tokens_told = UNKNOWN
        self._show_usage = show_usage
        self._route = route
        self._tail = b""

    def take(self, status: int, kind: bytes, retry_after: bytes, content: bytes) -> None:
        """A whole plain answer."""
        self.status, self.kind, self.length = status, kind, len(content)
        self.retry_after = int(retry_after[:6]) if retry_after.isdigit() else None
        if status != 200:
            self.refusal = content
            self.state = State.REFUSED
            return
        try:
            binary = self._route.binary
            self.tokens_told = tokens_of(kind, content) if binary else usage_of(content)
            self.state = State.COMPLETE
        except NotAnAnswer as fault:
            self.refusal = content
            self._break(str(fault))

    def head(self, status: int, kind: bytes, length: int) -> None:
        """An answer begins that comes in pieces."""
        self.status, self.kind, self.length = status, kind, length
        if status == 200 and kind[: len(EVENT_STREAM)].lower() == EVENT_STREAM:
            self.stream = self._route.dialect.stream(show_usage=self._show_usage)
        elif kind and not self._route.binary and kind[: len(JSON)].lower() != JSON:
            self._break("the answer is not a JSON object")

    def feed(self, received: bytes) -> bytes:
        """What the client gets now. Look at ``state`` after each call."""
        stream = self.stream
        if stream is None:
            if self.state is State.BROKEN:
                return b""
            self.state = State.GOING
            self._tail = (self._tail + received)[-TAIL_BYTES:]
            return received
        content = stream.feed(received)
        phase = stream.phase
        if phase is Phase.FLOWING:
            self.state = State.GOING
        elif phase is Phase.DONE:
            self.state = State.COMPLETE
        elif phase is Phase.BROKEN:
            self._break(stream.reason)
        return content

    def end(self) -> None:
        """The framing says that this was all."""
        if self.state in (State.COMPLETE, State.BROKEN):
            return
        if self.stream is not None:
            self.stream.close()
            self._break(self.stream.reason)
        else:
            self.tokens_told = _tokens(usage_in_tail(self._tail))
            self.state = State.COMPLETE

    def lost(self, reason: str) -> None:
        """The bytes ended before the framing said so."""
        if self.state in (State.WAITING, State.GOING):
            if self.stream is not None:
                self.stream.close()
            self._break(reason)

    def tokens(self) -> Tokens:
        """Prompt tokens, completion tokens, whether estimated."""
        return self.tokens_told if self.stream is None else self.stream.tokens()

    def said(self) -> WorkerError | None:
        """What the worker wrote about its failure, if it wrote anything."""
        if self.stream is not None:
            return self.stream.error
        try:
            said = _BODY(self.refusal).error
        except _ERRORS:
            return None
        return worker_error(said) if said else None

    def _break(self, reason: str) -> None:
        self.reason = reason
        self.state = State.BROKEN


def _tokens(usage: Usage | None) -> Tokens:
    if usage is None:
        return UNKNOWN
    prompt = usage.prompt
    return prompt or 0, usage.completion or 0, prompt is None  # a file's is told in seconds


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
            usage = _USAGE(json.dumps(found))
        except (ValueError, RecursionError, msgspec.MsgspecError):
            continue
        if not usage.prompt is usage.completion is None:
            return usage
    return None
