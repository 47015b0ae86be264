"""What of a form is to be sent: the newest of it in memory, or all of it in a file."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from inference.upload_spill import Spill, Spills

HELD_BYTES_MAX = 256 * 1024  # in memory, for another try; then the sent is forgotten


class Backlog:
    """Appended to as it comes, taken as it goes; taken again after ``rewind`` while ``whole``."""

    def __init__(self, spills: Spills, changed: Callable[[], None]) -> None:
        self._spills = spills
        self._changed = changed
        self._spill: Spill | None = None
        self._to_come: deque[bytes] = deque()
        self._taken: list[bytes] = []
        self._taken_bytes = 0  # from the beginning of the form
        self._begin = 0  # where in the form the file begins
        self.size = 0
        self.whole = True  # it can be sent from its beginning

    def append(self, content: bytes) -> None:
        if not content:
            return
        self.size += len(content)
        if self._spill is not None:
            self._spill.append(content)
        else:
            self._to_come.append(content)

    def spill(self, reserve: int = 0) -> None:
        """It cannot be sent as fast as it comes: into a file with it, and with what follows.

        Raises ``Unavailable`` when there is no room; where some was to be reserved, before
        anything has changed.
        """
        if self._spill is not None:
            return
        spill = self._spill = self._spills.open(self._changed, reserve)
        self._begin = 0 if self.whole else self._taken_bytes
        for piece in (*self._taken, *self._to_come):
            spill.append(piece)
        self._taken.clear()
        self._to_come.clear()

    @property
    def stays_whole(self) -> bool:
        """If nothing more comes it can always be sent from its beginning."""
        return self.whole and (self._spill is not None or self.size <= HELD_BYTES_MAX)

    @property
    def in_memory(self) -> bool:
        return self._spill is None

    @property
    def failed(self) -> bool:
        return self._spill is not None and self._spill.failed

    @property
    def waiting(self) -> int:
        """Bytes in memory whose turn has not come."""
        spill = self._spill
        return self.left if spill is None else spill.pending_bytes

    @property
    def left(self) -> int:
        """Bytes that were not taken yet."""
        return self.size - self._taken_bytes

    def take(self) -> bytes:
        """The next piece; nothing where ``changed`` will tell of more, or where there is none."""
        if self._spill is not None:
            piece = self._spill.read(self._taken_bytes - self._begin)
        elif self._to_come:
            piece = self._to_come.popleft()
            if self.whole:
                self._taken.append(piece)
        else:
            return b""
        self._taken_bytes += len(piece)
        return piece

    def forget(self) -> bool:
        """Let go of what was taken where it is too much to keep. True when that ended ``whole``."""
        if not self.whole or self._spill is not None or self._taken_bytes <= HELD_BYTES_MAX:
            return False
        self.whole = False
        self._taken.clear()
        return True

    def rewind(self) -> None:
        assert self.whole, "what was forgotten cannot be sent again"
        self._to_come.extendleft(reversed(self._taken))
        self._taken.clear()
        self._taken_bytes = 0

    def close(self) -> None:
        self._to_come.clear()
        self._taken.clear()
        if self._spill is not None:
            self._spill.close()
