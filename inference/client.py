"""What an exchange asks of whoever sent the request."""

from __future__ import annotations

from typing import Protocol

from inference.answer import Answer
from kernel.errors import GanglionError


class Client(Protocol):
    """Exactly one of ``whole``, ``last``, ``refuse`` and ``cut`` ends the request."""

    def whole(self, kind: bytes, content: bytes, request_id: str) -> None:
        """A plain answer, all of it."""
        ...

    def begin(self, answer: Answer, content: bytes, request_id: str) -> None:
        """The head and the first content of an answer; ``piece`` and ``last`` follow."""
        ...

    def piece(self, content: bytes) -> None: ...
    def event(self, framed: bytes, payload: bytes) -> None:
        """A piece that is one event: its data, and the whole chunk that it came in."""
        ...

    def last(self, content: bytes) -> None: ...

    def refuse(self, error: GanglionError, request_id: str) -> None:
        """An error, before anything of an answer was sent."""
        ...

    def cut(self) -> None:
        """End an answer that has begun so that nobody can take it for a whole one."""
        ...
