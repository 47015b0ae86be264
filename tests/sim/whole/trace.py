"""What happened, in the order in which it happened: the newest lines, and a digest of all."""

from __future__ import annotations

import hashlib
from collections import deque

from kernel.clock import NS, ManualClock

KEPT = 400


class Trace:
    """Two runs of one seed write the same lines."""

    def __init__(self, clock: ManualClock, *, keep: int = KEPT) -> None:
        self._clock = clock
        self._start_ns = clock.now_ns()
        self._digest = hashlib.sha256()
        self.lines: deque[str] = deque(maxlen=keep)
        self.step = 0
        self.count = 0

    def add(self, who: str, what: str) -> None:
        seconds = (self._clock.now_ns() - self._start_ns) / NS
        line = f"{self.step:4} {seconds:9.2f} s  {who:12} {what}"
        self._digest.update(line.encode())
        self.lines.append(line)
        self.count += 1

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()[:16]
