"""Request ids: UUIDv7 text made of a clock, a counter and chance drawn once; cheap enough to
make one for each request."""

from __future__ import annotations

from kernel.clock import Clock
from kernel.ids import BootId, Ids


class RequestIds:
    """RFC 9562 version 7 with a counter in the random part (method 1): unique in this process
    by the counter, between processes by where the counter starts. The time in it is that of the
    last ``tick``, so ids sort by birth by both together."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self._now_ns = clock.now_ns
        chance = ids.new(BootId).uuid.int
        self._upper = 0x7 << 12 | chance >> 62 & 0xFFF
        self._counter = 0b10 << 62 | chance & (1 << 61) - 1
        self.tick()

    def tick(self) -> None:
        """Let time go on."""
        unix_ms = self._now_ns() // 1_000_000
        self._prefix = f"req_{unix_ms << 16 | self._upper:016x}"

    def new(self) -> str:
        """``req_`` and 32 hex digits."""
        self._counter += 1
        return f"{self._prefix}{self._counter:016x}"
