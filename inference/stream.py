"""Server-sent events as a pure automaton: a worker's bytes in, a client's bytes and usage out.

What it promises, wherever the bytes are cut: a stream without a finish reason, with an error
inside, or with anything that is no event never looks complete (no ``[DONE]`` comes out); nothing
comes out before the first content, so another worker can still be tried; usage that the client
did not ask for is not shown; every other event comes out byte for byte.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from inference.errors import WorkerError, worker_error

EVENT_BYTES_MAX = 8 << 20
HELD_BYTES_MAX = 256 << 10
DONE_FRAME = b"data: [DONE]\n\n"
_FIELD_NAMES = (b"data", b"event", b"id", b"retry")
ABORTED = "abort"  # the engine's word for an answer that it gave up, at its own end for one
_EMPTY_VALUES = (b"null", b'""', b"[]", b"{}")
_USAGE = re.compile(rb'\s*"usage"\s*:\s*')


class Phase(Enum):
    HELD = auto()  # no content yet: nothing was passed on, another worker may be tried
    FLOWING = auto()
    DONE = auto()  # complete: finish reasons seen, no error, the worker said [DONE]
    BROKEN = auto()  # never complete, whatever comes


_FLOWING = Phase.FLOWING  # looked at for each chunk: a look into an enum class costs 0.1 us


class Usage(msgspec.Struct):
    """Token counts; a field that is missing is ``None``, which is not zero."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


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
_DECODE_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class SseStream:
    """One answer. Feed it what the worker sends; look at ``phase`` after each feed."""

    __slots__ = (
        "_ended",
        "_held",
        "_held_bytes",
        "_rest",
        "_seen",
        "_show_usage",
        "chunks_since_usage",
        "error",
        "phase",
        "reason",
        "usage",
    )

    def __init__(self, *, show_usage: bool) -> None:
        self.phase = Phase.HELD
        self.reason = ""  # why it is BROKEN, for the log
        self.error: WorkerError | None = None  # what the worker said was wrong
        self.usage: Usage | None = None
        self.chunks_since_usage = 0
        self._show_usage = show_usage
        self._rest = b""
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._seen: set[int] = set()  # choices, by index
        self._ended: set[int] = set()  # those that gave a finish reason

    def feed(self, received: bytes) -> bytes:
        """Take bytes of any cut; return what the client gets now."""
        if self.over:
            return b""
        pending = self._rest + received if self._rest else received
        if b"\r" in pending:
            pending = _plain_line_ends(pending)
        end = pending.rfind(b"\n\n")
        if end < 0:
            self._keep(pending)
            return b""
        self._keep(pending[end + 2 :])
        out: list[bytes] = []
        for event in pending[:end].split(b"\n\n"):
            if not self.over:
                self._event(event, out)
        return b"".join(out) if len(out) != 1 else out[0]

    def passes(self, payload: bytes) -> bool:
        """The usual case, in few steps: the data of one event of content, to go out as it came.

        False changes nothing: then ``feed`` is to be called.
        """
        if self.phase is not _FLOWING or self._rest:
            return False
        try:
            if not payload.isascii():
                payload.decode()
            chunk = _PASSING(payload)
        except _DECODE_ERRORS:
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

    @property
    def over(self) -> bool:
        """Nothing more comes out, whatever is fed."""
        return self.phase is Phase.DONE or self.phase is Phase.BROKEN

    def close(self) -> None:
        """The worker's bytes are over. Without its ``[DONE]`` the answer is not complete."""
        if self.phase is not Phase.DONE:
            self._break("the stream ended early")

    def tokens(self) -> tuple[int, int, bool]:
        """Prompt tokens, completion tokens, and whether they are an estimate."""
        if self.usage is None:
            return 0, self.chunks_since_usage, True
        prompt, completion = self.usage.prompt_tokens, self.usage.completion_tokens
        estimated = prompt is None or self.phase is not Phase.DONE
        if completion is None:
            return prompt or 0, self.chunks_since_usage, True
        return prompt or 0, completion + self.chunks_since_usage, estimated

    def _keep(self, rest: bytes) -> None:
        self._rest = rest
        if len(rest) > EVENT_BYTES_MAX:
            self._break("an event is too long")

    def _event(self, event: bytes, out: list[bytes]) -> None:
        """Judge one event (without its blank line) and pass it on, hold it, or drop it."""
        payload = event[6:] if event.startswith(b"data: ") and b"\n" not in event else None
        if payload is None:
            payload = self._fields(event)
            if payload is None:  # a comment, or nothing at all
                if self.phase is Phase.FLOWING and event.strip(b"\n"):
                    out.append(event + b"\n\n")
                return
            if self.phase is Phase.BROKEN:
                return
        if payload.startswith(b"[DONE]"):
            self._done(out)
            return
        try:
            if not payload.isascii():
                payload.decode()
            chunk = _LATER(payload) if self.phase is Phase.FLOWING else _FIRST(payload)
        except _DECODE_ERRORS:
            self._break("an event is not valid JSON")
            return
        if chunk.error or (chunk.object == "error" and not chunk.choices):
            self.error = worker_error(chunk.error or msgspec.json.decode(payload))
            self._break("the worker sent an error")
        else:
            self._chunk(chunk, event, out)

    def _chunk(self, chunk: _Chunk | _LaterChunk, event: bytes, out: list[bytes]) -> None:
        choices = chunk.choices
        if choices:
            if any(choice.finish_reason == ABORTED for choice in choices):
                self._break("the worker gave it up")
                return
            self.chunks_since_usage += 1
            for choice in choices:
                if choice.finish_reason:
                    self._ended.add(choice.index)
                self._seen.add(choice.index)
        frame = event + b"\n\n"
        if isinstance(chunk.usage, Usage):
            self.usage = chunk.usage
            self.chunks_since_usage = 0
            if not self._show_usage and not choices:
                return
        if not self._show_usage and chunk.usage is not UNSET:
            frame = without_usage(frame)
        if self.phase is Phase.FLOWING:
            out.append(frame)
        elif isinstance(chunk, _Chunk) and _has_content(chunk):
            self.phase = Phase.FLOWING
            out.extend(self._held)
            out.append(frame)
            self._held.clear()
        else:
            self._held.append(frame)
            self._held_bytes += len(frame)
            if self._held_bytes > HELD_BYTES_MAX:
                self._break("too much came before the first content")

    def _done(self, out: list[bytes]) -> None:
        if self._ended and self._ended >= self._seen:
            out.extend(self._held)
            out.append(DONE_FRAME)
            self.phase = Phase.DONE
        else:
            self._break("it ended without a finish reason")

    def _fields(self, event: bytes) -> bytes | None:
        """The payload of an event in full dress; ``None`` when it holds no ``data``."""
        lines: list[bytes] = []
        found = False
        for line in event.split(b"\n"):
            name, colon, value = line.partition(b":")
            if not name:
                continue
            if name not in _FIELD_NAMES or not colon:
                self._break("a line is no event field")
                return b""
            if name == b"data":
                found = True
                lines.append(value.removeprefix(b" "))
        return b"\n".join(lines) if found else None

    def _break(self, reason: str) -> None:
        self.phase = Phase.BROKEN
        self.reason = self.reason or reason
        self._rest = b""
        self._held.clear()


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
    except _DECODE_ERRORS:
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


def _plain_line_ends(pending: bytes) -> bytes:
    r"""``\r\n`` and ``\r`` to ``\n``; a ``\r`` at the very end may be half of a pair."""
    tail = b"\r" if pending.endswith(b"\r") else b""
    body = pending[: len(pending) - len(tail)]
    return body.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + tail
