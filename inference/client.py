"""What an exchange asks of whoever sent the request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from inference.answer import Answer
from kernel.errors import GanglionError

Write = Callable[[bytes], None]


class Client(Protocol):
    """Exactly one of ``whole``, ``last``, ``refuse`` and ``cut`` ends the request."""

    def whole(self, kind: bytes, content: bytes, request_id: str) -> None:
        """A plain answer, all of it."""
        ...

    def begin(self, answer: Answer, content: bytes, request_id: str) -> None:
        """The head and the first content of an answer; ``piece`` and ``last`` follow."""
        ...

    def piece(self, content: bytes) -> None: ...
    def chunks(self) -> Write | None:
        """After ``begin``: how pieces that are framed as chunks already are sent, if they can."""
        ...

    def last(self, content: bytes) -> None: ...

    def refuse(self, error: GanglionError, request_id: str) -> None:
        """An error, before anything of an answer was sent."""
        ...

    def cut(self) -> None:
        """End an answer that has begun so that nobody can take it for a whole one."""
        ...
