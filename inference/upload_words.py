"""What is heard in a file, streamed: vLLM's chunks, or OpenAI's typed events. Pure."""

from __future__ import annotations

import dataclasses

import msgspec

from inference.dialects import OPENAI, Dialect
from inference.sse import DECODE_ERRORS, Events, Phase, Usage
from inference.stream import SseStream

DELTA, END = "transcript.text.delta", "transcript.text.done"


class _Event(msgspec.Struct):
    type: str
    usage: Usage | None = None


_EVENT = msgspec.json.Decoder(_Event).decode


class WordStream(SseStream):
    """One answer. An event that says its type is OpenAI's; any other is a chunk."""

    __slots__ = ()

    def _payload(self, payload: bytes, event: bytes, out: list[bytes]) -> None:
        try:
            found = _EVENT(payload)
        except DECODE_ERRORS:
            found = None
        if found is None or not found.type.startswith("transcript."):
            super()._payload(payload, event, out)
            return
        if found.type == DELTA:
            self.chunks_since_usage += 1
        if found.usage is not None:
            self.usage = found.usage
            self.chunks_since_usage = 0
        self._pass_on(event + b"\n\n", out, content=True)
        if found.type == END:
            self.phase = Phase.DONE


class Words(Dialect):
    """OpenAI's, but for its streams."""

    def stream(self, *, show_usage: bool) -> Events:
        return WordStream(show_usage=show_usage)


WORDS = Words(**{field.name: getattr(OPENAI, field.name) for field in dataclasses.fields(OPENAI)})
