"""What the events of one stream have in common, so that most need not be read as JSON."""

from __future__ import annotations

import re

CHUNK_END = b"\n\n\r\n"  # of an event, and of the HTTP chunk that holds it
LESSONS_MAX = 4  # a model that thinks changes the name of the member once
_TEXT = re.compile(rb'"(?:content|text|reasoning_content|reasoning)":\s?"')
_PLAIN = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))  # stands in a JSON string as it is
_NEVER = 1 << 30


class Sample:
    """All but the text of an event that was read and found good.

    An event that differs from it in nothing but that text, where both texts are plain (ASCII,
    nothing escaped), says the same: a JSON string was exchanged for another. In an event that is
    valid JSON ``"content":"`` begins a member: inside a string its quotes would be escaped.
    """

    __slots__ = ("_head", "_least", "_lessons", "_tail")

    def __init__(self) -> None:
        self._head = self._tail = b""
        self._least = _NEVER  # bytes of the two
        self._lessons = 0

    def like(self, chunk: bytes, start: int) -> bool:
        """Whether the event whose data begin at ``start`` differs in its text alone."""
        head, tail = self._head, self._tail
        return (
            len(chunk) >= start + self._least
            and chunk.startswith(head, start)
            and chunk.endswith(tail)
            and not chunk[start + len(head) : -len(tail)].translate(None, _PLAIN)
        )

    def learn(self, chunk: bytes, start: int) -> None:
        """Take a good event as the sample; it is the whole of ``chunk`` from ``start``."""
        if self._lessons == LESSONS_MAX:
            return
        self._lessons += 1
        found = _TEXT.search(chunk, start)
        if found is None:
            return
        end = chunk.index(b'"', found.end())
        if chunk[found.end() : end].translate(None, _PLAIN):
            return  # the quote may be an escaped one
        self._head, self._tail = chunk[start : found.end()], chunk[end:]
        self._least = len(self._head) + len(self._tail)
