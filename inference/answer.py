"""A worker's answer: what the client gets of it, and what became of it. Pure; the streamed kind
is :mod:`inference.stream`.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto
from typing import Any

import msgspec

from inference.errors import WorkerError, worker_error
from inference.meter import Tokens
from inference.routes import Route
from inference.sse import Events, Phase, Usage
from inference.stream import ABORTED

HEAD_BYTES = 1024  # of a long plain answer, before it is believed
TAIL_BYTES = 16 * 1024
EVENT_STREAM = b"text/event-stream"
JSON = b"application/json"
UNKNOWN: Tokens = (0, 0, True)


FAILED = "failed"  # the status of a response that is none
ERROR = "error"  # what an answer is that is none, in the words of older workers
AN_ERROR = "an error under status 200"
A_FAILURE = "the worker says that it failed"
GIVEN_UP = "the worker gave it up"
ESCAPE = ord("\\")
LOOKS_MAX = 16  # at members of one name: what a worker writes is not to keep us busy
_WITH_CHOICES = frozenset(("chat", "completions"))
_TEXT = rb'"(?:[^"\\]|\\.)*+"'
# An answer's own members, while each is a text or a number, and then one that is a failure.
_FAILS = re.compile(
    rb"\s*\{(?:\s*%b\s*:\s*(?:%b|[-+.\w]+)\s*,)*\s*" % (_TEXT, _TEXT)
    + rb'(?:"object"\s*:\s*"error"|"status"\s*:\s*"failed"'
    + rb'|"error"\s*:\s*(?:\{\s*"|\[\s*[^\]\s]|"[^"]|true|-?[1-9]))'
).match
# A text in JSON has no bare quote, so this is a member, whatever an answer's text quotes.
_FINISH = b'"finish_reason"'
_GIVEN_UP = (_FINISH + b':"abort"', _FINISH + b': "abort"')
_GIVEN_UP_BYTES = 64  # more than one of them and the byte before it


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
    object: Any = None


class _Own(msgspec.Struct, gc=False):
    error: Any = None
    status: Any = None


_OWN = msgspec.json.Decoder(_Own).decode
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
    if body.error or body.object == ERROR:
        raise NotAnAnswer(AN_ERROR)
    if body.status == FAILED:
        raise NotAnAnswer(A_FAILURE)
    for choice in body.choices or ():
        if choice.finish_reason == ABORTED:
            raise NotAnAnswer(GIVEN_UP)
    return _tokens(body.usage)


def tokens_of(kind: bytes, content: bytes) -> Tokens:
    """The same of an answer that need not be JSON."""
    return usage_of(content) if kind[: len(JSON)].lower() == JSON else UNKNOWN


class Answer:
    """One answer: whole at once by ``take``, or as it comes by ``head``, ``feed`` and ``end``."""

    __slots__ = (
        "_judged",
        "_route",
        "_show_usage",
        "_size",
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
        self._judged = True  # it is JSON, if it is an answer
        self._size = 0
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
        self._judged = not self._route.binary or kind[: len(JSON)].lower() == JSON
        if status == 200 and kind[: len(EVENT_STREAM)].lower() == EVENT_STREAM:
            self.stream = self._route.dialect.stream(show_usage=self._show_usage)
        elif kind and not self._route.binary and kind[: len(JSON)].lower() != JSON:
            self._break("the answer is not a JSON object")

    def feed(self, received: bytes) -> bytes:
        """What the client gets now. Look at ``state`` after each call."""
        stream = self.stream
        if stream is None:
            return self._feed_plain(received)
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
        elif self._judged and self.state is State.WAITING:
            self._break("it ended before it began")
        else:
            self._close_plain()

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

    def _feed_plain(self, received: bytes) -> bytes:
        """A long answer: what is a failure is found before the client has its last byte. Where its
        length was told, the last piece is judged before it goes; else an end is still to follow."""
        if self.state is State.BROKEN:
            return b""
        self._size += len(received)
        if not self._judged:
            self.state = State.GOING
            return received
        whole = self._size == self.length
        if self.state is State.WAITING:
            received = self._tail + received
            if len(received) < HEAD_BYTES and not whole:
                self._tail = received
                return b""
            self._tail = b""
            if found := _FAILS(received, 0, HEAD_BYTES):
                self._break(A_FAILURE if found[0].endswith(b'"failed"') else AN_ERROR)
                return b""
        if self._route.name in _WITH_CHOICES and _given_up(self._tail, received):
            self._break(GIVEN_UP)
            return b""
        kept = b"" if len(received) >= TAIL_BYTES else self._tail
        self._tail = (kept + received[-TAIL_BYTES:])[-TAIL_BYTES:]
        self.state = State.GOING
        if whole:
            self._close_plain()
        return received if self.state is not State.BROKEN else b""

    def _close_plain(self) -> None:
        """All of it has come."""
        if self._judged and (fault := fault_in_tail(self._tail)):
            self._break(fault)
        else:
            self.tokens_told = _tokens(usage_in_tail(self._tail))
            self.state = State.COMPLETE

    def _break(self, reason: str) -> None:
        self.reason = reason
        self.state = State.BROKEN


def _tokens(usage: Usage | None) -> Tokens:
    if usage is None:
        return UNKNOWN
    prompt = usage.prompt
    return prompt or 0, usage.completion or 0, prompt is None  # a file's is told in seconds


def _given_up(before: bytes, received: bytes) -> bool:
    """Does one of the choices say so, in this piece or across its beginning?"""
    across = before[-_GIVEN_UP_BYTES:] + received[:_GIVEN_UP_BYTES]
    return _gives_up(across) or _gives_up(received)


def _gives_up(some: bytes) -> bool:
    if b"_" not in some or _FINISH not in some:  # one byte is sought ten times as fast
        return False
    places = (some.find(sign) for sign in _GIVEN_UP)
    return any(at > 0 and some[at - 1] != ESCAPE for at in places)  # else a name's end


def fault_in_tail(tail: bytes) -> str:
    """What the answer's own members say against it, among the last bytes of one too long to be
    kept. A member is the answer's own, and not of something in it, where all that follows it
    closes one object."""
    if b'"error"' not in tail and b'"failed"' not in tail:
        return ""
    for name in (b'"error"', b'"status"'):
        at = len(tail)
        for _ in range(LOOKS_MAX):
            at = tail.rfind(name, 0, at)
            if at < 0:
                break
            if at and tail[at - 1] == ESCAPE:  # the end of another name
                continue
            try:
                own = _OWN(b"{" + tail[at:])
            except _ERRORS:
                continue
            if own.error:
                return AN_ERROR
            if own.status == FAILED:
                return A_FAILURE
            break
    return ""


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
