"""Server-sent events, whatever they say: bytes of any cut in, whole events judged, bytes out. Pure.

What is promised by every kind of stream: nothing comes out before the first content, so another
worker can still be tried; what is no event, an error inside, or an early end never looks complete;
every other event comes out byte for byte.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum, auto
from typing import Any

import msgspec

from inference.errors import WorkerError

EVENT_BYTES_MAX = 8 << 20
HELD_BYTES_MAX = 256 << 10
TOKENS_MAX = 1 << 40  # of one request; a bill and a limit are reckoned by what is believed
_FIELD_NAMES = (b"data", b"event", b"id", b"retry")
DECODE_ERRORS = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


class Phase(Enum):
    HELD = auto()  # no content yet: nothing was passed on, another worker may be tried
    FLOWING = auto()
    DONE = auto()  # complete, as the worker said in so many words
    BROKEN = auto()  # never complete, whatever comes


FLOWING = Phase.FLOWING  # looked at for each chunk: a look into an enum class costs 0.1 us


class Usage(msgspec.Struct):
    """Token counts as a worker tells them; ``None``, which is not zero: none that can be."""

    prompt_tokens: Any = None
    completion_tokens: Any = None
    input_tokens: Any = None  # the same in other dialects
    output_tokens: Any = None

    @property
    def prompt(self) -> int | None:
        return _count(self.input_tokens if self.prompt_tokens is None else self.prompt_tokens)

    @property
    def completion(self) -> int | None:
        told = self.completion_tokens
        return _count(self.output_tokens if told is None else told)


def _count(told: Any) -> int | None:
    return told if type(told) is int and 0 <= told <= TOKENS_MAX else None


class Events(ABC):
    """One answer. Feed it what the worker sends; look at ``phase`` after each feed."""

    __slots__ = (
        "_held",
        "_held_bytes",
        "_kept",
        "_kept_bytes",
        "_rest",
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
        self._rest = b""  # the last two bytes of what has no end yet
        self._kept: list[bytes] = []  # and all before it
        self._kept_bytes = 0
        self._held: list[bytes] = []
        self._held_bytes = 0

    def feed(self, received: bytes) -> bytes:
        """Take bytes of any cut; return what the client gets now."""
        if self.phase is not FLOWING and self.over:
            return b""
        pending = self._rest + received if self._rest else received
        if b"\r" in pending:
            pending = _plain_line_ends(pending)
        end = pending.rfind(b"\n\n")
        if end < 0:
            self._keep(pending)
            return b""
        whole = pending[:end]
        if self._kept:
            whole, self._kept, self._kept_bytes = b"".join((*self._kept, whole)), [], 0
        if end + 2 == len(pending):
            self._rest = b""
        else:
            self._keep(pending[end + 2 :])
            if self.phase is not FLOWING and self.over:
                return b""
        out: list[bytes] = []
        for event in whole.split(b"\n\n"):
            if event.startswith(b"data: ") and b"\n" not in event:
                self._payload(event[6:], event, out)
            else:
                self._event(event, out)
            if self.phase is not FLOWING and self.over:
                break
        return b"".join(out) if len(out) != 1 else out[0]

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
        prompt, completion = self.usage.prompt, self.usage.completion
        estimated = prompt is None or self.phase is not Phase.DONE
        if completion is None:
            return prompt or 0, self.chunks_since_usage, True
        return prompt or 0, completion + self.chunks_since_usage, estimated

    @abstractmethod
    def _payload(self, payload: bytes, event: bytes, out: list[bytes]) -> None:
        """Judge one event by its data; ``event`` is all of it without its blank line."""

    def _keep(self, rest: bytes) -> None:
        """What has no end yet is looked at no more, but for its last bytes: they may begin one."""
        self._kept.append(rest[:-2])
        self._kept_bytes += len(self._kept[-1])
        self._rest = rest[-2:]
        if self._kept_bytes >= EVENT_BYTES_MAX:
            self._break("an event is too long")

    def _event(self, event: bytes, out: list[bytes]) -> None:
        """One in full dress, or what is none."""
        payload = self._fields(event)
        if payload is None:  # a comment, or nothing at all
            if self.phase is FLOWING and event.strip(b"\n"):
                out.append(event + b"\n\n")
        elif self.phase is not Phase.BROKEN:
            self._payload(payload, event, out)

    def _pass_on(self, frame: bytes, out: list[bytes], *, content: bool) -> None:
        """Out with it, or held until the first content."""
        if self.phase is FLOWING:
            out.append(frame)
        elif content:
            self.phase = FLOWING
            out.extend(self._held)
            out.append(frame)
            self._held.clear()
        else:
            self._held.append(frame)
            self._held_bytes += len(frame)
            if self._held_bytes > HELD_BYTES_MAX:
                self._break("too much came before the first content")

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
        self._kept.clear()
        self._held.clear()


def _plain_line_ends(pending: bytes) -> bytes:
    r"""``\r\n`` and ``\r`` to ``\n``; a ``\r`` at the very end may be half of a pair."""
    tail = b"\r" if pending.endswith(b"\r") else b""
    body = pending[: len(pending) - len(tail)]
    return body.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + tail
