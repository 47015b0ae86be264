"""Chunks of chat and completions as a pure automaton: a worker's bytes in, a client's bytes out.

What it promises beside :mod:`inference.sse`: a stream without a finish reason never looks complete
(no ``[DONE]`` comes out), and usage that the client did not ask for is not shown.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from inference.errors import worker_error
from inference.sse import DECODE_ERRORS, FLOWING, Events, Phase, Usage

DONE_FRAME = b"data: [DONE]\n\n"
ABORTED = "abort"  # the engine's word for an answer that it gave up, at its own end for one
_EMPTY_VALUES = (b"null", b'""', b"[]", b"{}")
_USAGE = re.compile(rb'\s*"usage"\s*:\s*')


class _Choice(msgspec.Struct):
    index: int = 0
    finish_reason: str | None = None
    delta: dict[str, Raw] | None = None
    text: str | None = None


class _LaterChoice(msgspec.Struct, gc=False):
    """The same without what matters only before the first content."""

    index: int = 0
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: Usage | UnsetType | None = UNSET
    error: Any = None
    object: str | None = None


class _LaterChunk(msgspec.Struct):
    choices: list[_LaterChoice] | None = None
    usage: Usage | UnsetType | None = UNSET
    error: Any = None
    object: str | None = None


class _PassingChunk(msgspec.Struct, gc=False):
    """The same without what an event with choices does not have."""

    choices: list[_LaterChoice] | None = None
    usage: Raw | UnsetType = UNSET
    error: Any = None


_PASSING = msgspec.json.Decoder(_PassingChunk).decode
_FIRST = msgspec.json.Decoder(_Chunk).decode
_LATER = msgspec.json.Decoder(_LaterChunk).decode
_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode


class SseStream(Events):
    """An answer in chunks, as chat and completions stream it."""

    __slots__ = ("_ended", "_seen")

    def __init__(self, *, show_usage: bool) -> None:
        Events.__init__(self, show_usage=show_usage)  # (``super()`` is slow)
        self._seen: set[int] = set()  # choices, by index
        self._ended: set[int] = set()  # those that gave a finish reason

    @property
    def ending(self) -> bool:
        """A choice has given its finish reason."""
        return bool(self._ended)

    def passes(self, payload: bytes) -> bool:
        """The usual case, in few steps: the data of one event of content, to go out as it came.

        False changes nothing: then ``feed`` is to be called.
        """
        if self.phase is not FLOWING or self._rest:
            return False
        try:
            if not payload.isascii():
                payload.decode()
            chunk = _PASSING(payload)
        except DECODE_ERRORS:
            return False
        choices = chunk.choices
        if not choices or chunk.usage is not UNSET or chunk.error:
            return False
        for choice in choices:
            if choice.finish_reason:
                if choice.finish_reason == ABORTED:
                    return False
                self._ended.add(choice.index)
            self._seen.add(choice.index)
        self.chunks_since_usage += 1
        return True

    def _payload(self, payload: bytes, event: bytes, out: list[bytes]) -> None:
        if payload.startswith(b"[DONE]"):
            self._done(out)
            return
        try:
            if not payload.isascii():
                payload.decode()
            chunk = _LATER(payload) if self.phase is FLOWING else _FIRST(payload)
        except DECODE_ERRORS:
            self._break("an event is not valid JSON")
            return
        if chunk.error or (not chunk.choices and chunk.object == "error"):
            self.error = worker_error(chunk.error or msgspec.json.decode(payload))
            self._break("the worker sent an error")
        else:
            self._chunk(chunk, event, out)

    def _chunk(self, chunk: _Chunk | _LaterChunk, event: bytes, out: list[bytes]) -> None:
        choices = chunk.choices
        if choices:
            for choice in choices:
                if choice.finish_reason:
                    if choice.finish_reason == ABORTED:
                        self._break("the worker gave it up")
                        return
                    self._ended.add(choice.index)
                self._seen.add(choice.index)
            self.chunks_since_usage += 1
        frame = event + b"\n\n"
        usage = chunk.usage
        if usage is not UNSET:
            if isinstance(usage, Usage):
                self.usage = usage
                if usage.completion is not None:
                    self.chunks_since_usage = 0
                if not self._show_usage and not choices:
                    return
            if not self._show_usage:
                frame = without_usage(frame)
        if self.phase is FLOWING:
            out.append(frame)
        else:
            first = isinstance(chunk, _Chunk) and _has_content(chunk)
            self._pass_on(frame, out, content=first)

    def _done(self, out: list[bytes]) -> None:
        if self._ended and self._ended >= self._seen:
            out.extend(self._held)
            out.append(DONE_FRAME)
            self.phase = Phase.DONE
        else:
            self._break("it ended without a finish reason")


def without_usage(frame: bytes) -> bytes:
    """The event without its top-level ``usage`` member; all other bytes as they were.

    The text ``"usage":`` cannot stand inside a JSON string (its quotes would be escaped), but it
    can be a member of a nested object, so each place is tried until the rest is what it was.
    """
    start, end = frame.index(b"{"), frame.rindex(b"}") + 1
    payload = frame[start:end]
    fields = _FIELDS(payload)
    raw = fields.pop("usage", None)
    if raw is None:
        return frame
    wanted = {name: bytes(value) for name, value in fields.items()}
    value = bytes(raw)
    for match in _USAGE.finditer(payload):
        if not payload.startswith(value, match.end()):
            continue
        before, after = payload[: match.start()], payload[match.end() + len(value) :]
        if before.endswith(b","):
            before = before[:-1]
        else:
            after = after.lstrip()
            after = after[1:].lstrip() if after.startswith(b",") else after
        if _same_fields(before + after, wanted):
            return frame[:start] + before + after + frame[end:]
    raise AssertionError("a member that was decoded stands in the text")


def _same_fields(payload: bytes, wanted: dict[str, bytes]) -> bool:
    try:
        seen = _FIELDS(payload)
    except DECODE_ERRORS:
        return False
    return {name: bytes(value) for name, value in seen.items()} == wanted


def _has_content(chunk: _Chunk) -> bool:
    """True when a client would miss something if this chunk were never sent."""
    for choice in chunk.choices or ():
        if choice.finish_reason or choice.text:
            return True
        for name, value in (choice.delta or {}).items():
            if name != "role" and bytes(value) not in _EMPTY_VALUES:
                return True
    return False
