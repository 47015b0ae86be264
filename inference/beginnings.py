"""How a worker's answers begin: learned now and then, so that like ones need no parser. Pure."""

from __future__ import annotations

from inference.alike import Alike, sample
from inference.chunks import head_of

SAMPLES_MAX = 2  # of each kind, between two calls of ``refresh``


class Beginnings:
    """Heads tell the time, so new samples are taken again and again."""

    __slots__ = ("_streams_left", "_wholes_left", "kind", "stream", "stream_kind", "whole")

    def __init__(self) -> None:
        self.whole: Alike | None = None  # of whole answers
        self.kind = b""
        self.stream = b""  # the head of streams; empty: not known
        self.stream_kind = b""
        self.refresh()

    def learn(self, received: bytes, kind: bytes) -> None:
        """A whole answer came in one piece and was read."""
        if self._wholes_left:
            self._wholes_left -= 1
            self.whole, self.kind = sample(received), kind

    def learn_stream(self, received: bytes, kind: bytes) -> None:
        """A body in chunks began, and its head was read."""
        if self._streams_left:
            self._streams_left -= 1
            self.stream, self.stream_kind = head_of(received), kind

    def refresh(self) -> None:
        """Time went on."""
        self._wholes_left = self._streams_left = SAMPLES_MAX
