"""Messages that differ from one that was read in nothing but how long they are and what follows.

A kept connection carries the same head again and again: a client's, a worker's. What was found in
the first holds for all; only the digits of ``content-length`` and the body are looked at. Pure.
"""

from __future__ import annotations

HEAD_BYTES_MAX = 4096  # a longer head is read each time
DIGITS_MAX = 8
_NAME = b"content-length"
_LINE = b"\r\n" + _NAME + b": "
_END = b"\r\n\r\n"


class Alike:
    """A head, but for the digits of its length."""

    __slots__ = ("_bare", "_rest", "_start")

    def __init__(self, start: bytes, rest: bytes) -> None:
        self._start = start
        self._rest = rest
        self._bare = len(start) + len(rest)

    def body(self, received: bytes) -> bytes | None:
        """What follows the head, where this is one whole message with this head."""
        size = len(received) - self._bare  # of the body and the digits of its length
        if 102 < size < 1003:
            head = b"%b%d%b" % (self._start, size - 3, self._rest)
        elif 1003 < size < 10004:
            head = b"%b%d%b" % (self._start, size - 4, self._rest)
        else:
            return self._read(received)
        return received[len(head) :] if received.startswith(head) else None

    def _read(self, received: bytes) -> bytes | None:
        """The same for a body of any length."""
        start, rest = self._start, self._rest
        if not received.startswith(start):
            return None
        at = len(start)
        end = received.find(b"\r", at, at + DIGITS_MAX + 1)
        digits = received[at:end]
        if end < 0 or not digits.isdigit() or not received.startswith(rest, end):
            return None
        body = received[end + len(rest) :]
        return body if len(body) == int(digits) else None


def sample(received: bytes) -> Alike | None:
    """Of one whole message that was read and found good; ``None`` where its head is unusual."""
    end = received.find(_END, 0, HEAD_BYTES_MAX)
    if end < 0:
        return None
    head = received[: end + len(_END)].lower()
    line = head.find(_LINE)
    if line < 0 or head.count(_NAME) != 1:
        return None
    start = line + len(_LINE)
    stop = head.find(b"\r", start)
    made = Alike(received[:start], received[stop : end + len(_END)])
    return made if made.body(received) is not None else None
