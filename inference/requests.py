"""Request ids: UUIDv7 text made of a clock, a counter and chance drawn once; cheap enough to
make one for each request."""

from __future__ import annotations

from kernel.clock import Clock
from kernel.ids import BootId, Ids

_COUNTER_BITS = 62
_COUNTER_MASK = (1 << _COUNTER_BITS) - 1


class RequestIds:
    """RFC 9562 version 7 with a counter in the random part (method 1): unique in this process
    by the counter, between processes by where the counter starts."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self._now_ns = clock.now_ns
        chance = ids.new(BootId).uuid.int
        self._upper = 0x7 << 76 | (chance >> 62 & 0xFFF) << 64 | 0b10 << 62
        self._counter = chance & _COUNTER_MASK

    def new(self) -> str:
        """``req_`` and 32 hex digits."""
        self._counter = self._counter + 1 & _COUNTER_MASK
        unix_ms = self._now_ns() // 1_000_000
        return f"req_{unix_ms << 80 | self._upper | self._counter:032x}"
