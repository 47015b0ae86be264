"""Ships what workers print to the brain: rising line numbers, nothing twice, over restarts.

A cursor (next line number, byte offset) is saved after the brain took a batch. A batch that
was taken but not saved is sent again with the same numbers, and the brain drops it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from kernel.clock import Clock
from kernel.masking import masked, words_to_hide
from kernel.wire.agent import LogBatch, LogLine
from node_agent import log_quota
from node_agent.engine import log_path
from node_agent.files import read_if_there, write_private
from node_agent.log_quota import Allowance, LogRate

BATCH_LINES_MAX = 500
BATCH_BYTES_MAX = 128 * 1024
LINE_CHARACTERS_MAX = 4000
QUOTA_BYTES = 64 << 20


class LogCursor(Struct, frozen=True):
    next_line: int = 0
    offset: int = 0
    allowance: Allowance = Allowance()


class LogShelf:
    """The logs of this host's leases, as files of bounded size, shipped at a bounded rate."""

    def __init__(
        self,
        work_home: Path,
        clock: Clock,
        *,
        quota_bytes: int = QUOTA_BYTES,
        rate: LogRate | None = None,
    ) -> None:
        self._home = work_home
        self._clock = clock
        self._quota = quota_bytes
        self._rate = rate or LogRate()
        self._cursors: dict[str, LogCursor] = {}
        self._words: dict[str, tuple[str, ...]] = {}

    def hide(self, lease_id: str, values: Iterable[str]) -> None:
        """From now on these stand in no line that is shipped. Kept in memory alone: after a
        restart of the agent the brain, which knows them, hides them."""
        known = self._words.get(lease_id, ())
        self._words[lease_id] = words_to_hide([*known, *values])

    def note(self, lease_id: str, text: str) -> None:
        """Put a line of the agent's own among the worker's."""
        path = log_path(self._home, lease_id)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("ab") as file:
            file.write(f"[agent] {text}\n".encode())

    def next_batch(self, lease_id: str, *, flush: bool) -> tuple[LogBatch, LogCursor] | None:
        """The next lines that the brain lacks and the cursor after them; None when none wait.

        ``flush``: the work has ended, so a last line without its line end is shipped too. Lines
        over the rate are dropped; the first time in a flood one line says so.
        """
        cursor = self._within_quota(lease_id)
        path = log_path(self._home, lease_id)
        if not path.exists():
            return None
        with path.open("rb") as file:
            file.seek(cursor.offset)
            block = file.read(BATCH_BYTES_MAX)
        pieces = _complete_lines(block, flush=flush)
        if not pieces:
            return None
        at_ns = self._clock.now_ns()
        size = sum(len(piece) for piece in pieces)
        allowance = log_quota.filled(cursor.allowance, self._rate, at_ns)
        if size > log_quota.room(allowance, self._rate):
            return self._dropped(lease_id, cursor, allowance)
        lines = [
            LogLine(at_ns, "stdout", _readable(piece, self._words.get(lease_id, ())))
            for piece in pieces
        ]
        left = log_quota.spent(allowance, size)
        after = LogCursor(cursor.next_line + len(lines), cursor.offset + size, left)
        return LogBatch(lease_id, cursor.next_line, lines), after

    def taken(self, lease_id: str, cursor: LogCursor) -> None:
        """The brain has everything before ``cursor``."""
        self._cursors[lease_id] = cursor
        write_private(self._cursor_path(lease_id), msgspec.json.encode(cursor))

    def remove(self, lease_id: str) -> None:
        """Forget a lease that is over: its output and all that it left on this host."""
        self._cursors.pop(lease_id, None)
        self._words.pop(lease_id, None)
        shutil.rmtree(self._home / lease_id, ignore_errors=True)

    def leases(self) -> list[str]:
        return sorted(path.parent.name for path in self._home.glob("*/output.log"))

    def _dropped(
        self, lease_id: str, cursor: LogCursor, allowance: Allowance
    ) -> tuple[LogBatch, LogCursor] | None:
        """Go past all whole lines that wait; say so if it was not said in this flood."""
        end = _end_of_lines(log_path(self._home, lease_id))
        after = LogCursor(cursor.next_line, end, log_quota.flooded(allowance))
        if allowance.flooding:
            self.taken(lease_id, after)
            return None
        told = LogLine(allowance.at_ns, "agent", log_quota.why(allowance, self._rate))
        after = LogCursor(cursor.next_line + 1, end, after.allowance)
        return LogBatch(lease_id, cursor.next_line, [told]), after

    def _within_quota(self, lease_id: str) -> LogCursor:
        """Empty a file that has grown past the quota; its writer appends, so it goes on at 0."""
        cursor = self._cursor(lease_id)
        path = log_path(self._home, lease_id)
        size = path.stat().st_size if path.exists() else 0
        if size > self._quota:
            with path.open("r+b") as file:
                file.truncate(0)
            self.note(lease_id, f"{size - cursor.offset} bytes of output were dropped.")
        if size > self._quota or size < cursor.offset:
            cursor = LogCursor(cursor.next_line, 0, cursor.allowance)
            self.taken(lease_id, cursor)
        return cursor

    def _cursor(self, lease_id: str) -> LogCursor:
        known = self._cursors.get(lease_id)
        if known is None:
            content = read_if_there(self._cursor_path(lease_id))
            try:
                known = msgspec.json.decode(content or b"{}", type=LogCursor)
            except msgspec.MsgspecError:
                known = LogCursor()
            self._cursors[lease_id] = known
        return known

    def _cursor_path(self, lease_id: str) -> Path:
        return self._home / lease_id / "cursor.json"


def _end_of_lines(path: Path) -> int:
    """The offset after the last line end; the file's end where its last piece has none."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = max(size - BATCH_BYTES_MAX, 0)
        file.seek(start)
        last = file.read(BATCH_BYTES_MAX).rfind(b"\n")
    return start + last + 1 if last >= 0 else size


def _complete_lines(block: bytes, *, flush: bool) -> list[bytes]:
    """Whole lines with their line ends. A block without any line end is cut and taken as one."""
    pieces = block.split(b"\n")
    lines = [piece + b"\n" for piece in pieces[:-1]]
    rest = pieces[-1]
    if rest and (flush or (not lines and len(block) >= BATCH_BYTES_MAX)):
        lines.append(rest)
    return lines[:BATCH_LINES_MAX]


def _readable(piece: bytes, words: Iterable[str]) -> str:
    """Text for people: the last state of a progress bar, no NUL (databases refuse it), none of
    the words."""
    text = piece.decode("utf-8", errors="replace").rstrip("\r\n").rpartition("\r")[2]
    text = masked(text, words)  # before it is cut: half a word would not be found
    return text.replace("\x00", "�")[:LINE_CHARACTERS_MAX]
