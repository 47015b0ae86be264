"""What a model says or writes down, read from its answer: plain JSON or events. Pure."""

from __future__ import annotations

import msgspec

from inference.errors import WorkerError
from inference.sse import DECODE_ERRORS, Usage
from kernel.errors import GanglionError, OutOfCredit, UpstreamFailed

DATA = b"data:"


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Said(msgspec.Struct):
    choices: list[_Choice] | None = None
    text: str | None = None
    usage: Usage | None = None
    error: WorkerError | None = None


_SAID = msgspec.json.Decoder(_Said).decode


class Words:
    """One answer. ``feed`` takes whole events, or all of a plain answer, and gives its words."""

    def __init__(self) -> None:
        self.text = ""
        self.error: WorkerError | None = None
        self.finish = ""
        self.usage = Usage()

    def feed(self, content: bytes) -> str:
        if not content.startswith(DATA):
            return self._take(content) if content.strip() else ""
        found = []
        for event in content.split(b"\n\n"):
            payload = event[len(DATA) :].strip()
            if payload and not payload.startswith(b"[DONE]"):
                found.append(self._take(payload))
        return "".join(found)

    def failure(self, kind: str) -> GanglionError | None:
        """The error that stands in the answer, if one does."""
        said = self.error
        if said is None:
            return None
        if said.code == OutOfCredit.code:
            return OutOfCredit(said.message)
        return UpstreamFailed(said.message or f"The {kind} model failed; try again.")

    def _take(self, payload: bytes) -> str:
        try:
            said = _SAID(payload)
        except DECODE_ERRORS:
            return ""
        if said.error is not None:
            self.error = said.error
        if said.usage is not None:
            self.usage = said.usage
        words = said.text or ""
        for choice in said.choices or ():
            self.finish = choice.finish_reason or self.finish
            for part in (choice.delta, choice.message):
                words += (part.content or "") if part is not None else ""
        self.text += words
        return words
