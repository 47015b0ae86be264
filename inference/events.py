"""Typed events of ``/v1/responses`` and ``/v1/messages`` as a pure automaton.

Each event says its ``type``; one of them is the answer's end. What is promised beside
:mod:`inference.sse`: without that event a stream never looks complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from inference.errors import worker_error
from inference.sse import DECODE_ERRORS, Events, Phase, Usage

DELTA = ".delta", "_delta"  # how the types of events end that bear a piece of the answer


class _Part(msgspec.Struct):
    """The answer as the event shows it so far."""

    usage: Usage | None = None
    error: Any = None


class _Delta(msgspec.Struct):
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str
    response: _Part | None = None
    message: Any = None  # an object at the start of a message, a text in an error
    usage: Usage | None = None
    delta: Any = None
    error: Any = None
    code: Any = None


_EVENT = msgspec.json.Decoder(_Event).decode


@dataclass(frozen=True, slots=True)
class Grammar:
    """Which types of events mean what; all others are content."""

    before: frozenset[str]  # of an answer that is about to come: nothing is lost without them
    end: frozenset[str]
    failed: frozenset[str]
    reason: str = ""  # the type of the event that must tell why it stopped before it may end


RESPONSES = Grammar(
    before=frozenset(("response.created", "response.queued", "response.in_progress")),
    end=frozenset(("response.completed", "response.incomplete")),
    failed=frozenset(("response.failed", "response.cancelled", "error")),
)
MESSAGES = Grammar(
    before=frozenset(("message_start", "ping", "content_block_start")),
    end=frozenset(("message_stop",)),
    failed=frozenset(("error",)),
    reason="message_delta",
)


class EventStream(Events):
    """One answer in typed events. Usage is part of the dialect: it is always shown."""

    __slots__ = ("_grammar", "_reasoned")

    def __init__(self, grammar: Grammar) -> None:
        super().__init__(show_usage=True)
        self._grammar = grammar
        self._reasoned = not grammar.reason

    def _payload(self, payload: bytes, event: bytes, out: list[bytes]) -> None:
        if payload.startswith(b"[DONE]"):
            return  # said beside the last event by some servers, and by none instead of it
        try:
            payload.decode()
            found = _EVENT(payload)
        except DECODE_ERRORS:
            self._break("an event is not a typed JSON object")
            return
        grammar, kind = self._grammar, found.type
        if kind in grammar.failed or found.error:
            self._failed(found)
            return
        self._count(found)
        frame = event + b"\n\n"
        if kind in grammar.end:
            self._end(frame, out)
        else:
            self._pass_on(frame, out, content=kind not in grammar.before)

    def _end(self, frame: bytes, out: list[bytes]) -> None:
        if not self._reasoned:
            self._break("it ended without a stop reason")
            return
        self._pass_on(frame, out, content=True)
        self.phase = Phase.DONE

    def _failed(self, found: _Event) -> None:
        said = found.error
        if not said and found.response is not None:
            said = found.response.error
        if not said and found.message:
            said = {"message": found.message, "code": found.code}
        self.error = worker_error(said or "the worker gave no reason")
        self._break("the worker sent an error")

    def _count(self, found: _Event) -> None:
        if found.type.endswith(DELTA):
            self.chunks_since_usage += 1
        if found.type == self._grammar.reason:
            self._reasoned = _stop_reason(found.delta) is not None
        told = found.usage
        if told is None and found.response is not None:
            told = found.response.usage
        if told is None and isinstance(found.message, dict):
            told = _usage_in(found.message)
        if told is None:
            return
        if self.usage is not None and told.prompt is None:  # told at the start of a message
            told.prompt_tokens = self.usage.prompt
        last = found.type in self._grammar.end | {self._grammar.reason}
        if told.completion or (last and told.completion is not None):
            self.chunks_since_usage = 0
        self.usage = told


def _stop_reason(delta: object) -> str | None:
    try:
        return msgspec.convert(delta, _Delta).stop_reason
    except msgspec.ValidationError:
        return None


def _usage_in(message: dict[str, Any]) -> Usage | None:
    try:
        return msgspec.convert(message.get("usage"), Usage | None)
    except msgspec.ValidationError:
        return None
