"""Long bodies of requests that are in hand: all of a process's together have a limit. Pure."""

from __future__ import annotations

from kernel.errors import Unavailable

LONG_BYTES = 64 * 1024  # a shorter one is not counted: connections have a limit of their own


class Bodies:
    """How many bytes of them there are."""

    __slots__ = ("_bytes_max", "used")

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.used = 0

    def grow(self, before: int, now: int) -> int:
        """A body of which ``before`` bytes were counted is ``now`` bytes long. Returns what is
        counted of it; raises ``Unavailable`` when there is no room for more."""
        if now <= LONG_BYTES:
            return 0
        if self.used - before + now > self._bytes_max:
            raise Unavailable("Too many long requests are in hand; try again.", retry_after=1)
        self.used += now - before
        return now

    def drop(self, counted: int) -> None:
        """It is needed no more."""
        self.used -= counted
