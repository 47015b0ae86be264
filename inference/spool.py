"""The durable spool of usage: what a killed gateway leaves behind is all there.

A memory-mapped file takes each record without a system call, and what is written there survives
the death of any process; ``fdatasync`` off the loop guards against loss of power. Records are
framed ``length, crc32, payload``: a torn tail is not what its frame says, and ends the reading.

What a record says stands in :mod:`inference.notes`. Files are given up in order as soon as the
brain has what they hold; an open piece that was noted in one is noted again before that.

A folder holds one folder a boot: ``<boot_id>/lock``, held while its process lives, and
``<boot_id>/<number>.spool``.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from zlib import crc32

from inference.meter import Residence, Target, cut_off
from inference.notes import (
    Finished,
    Note,
    Opened,
    Reader,
    Ticked,
    open_note,
    piece_note,
    target_note,
    tick_note,
)
from kernel.errors import Unavailable
from kernel.wire.gateway import Segment, SegmentEnd

FILES_MIN = 8
LOCK = "lock"
_FRAME = Struct("<II")
_FRAME_BYTES = _FRAME.size
_frame = _FRAME.pack


@dataclass(slots=True)
class _File:
    """The map of the file that is written to; of the others only the path is kept."""

    path: Path
    map: mmap.mmap
    reader: Reader
    end: int = 0  # bytes written
    targets: set[int] = field(default_factory=set)  # that it has noted

    def content(self, offset: int) -> bytes:
        """What was written from ``offset`` on, for reading in one go."""
        if not self.map.closed:
            return self.map[offset : self.end]
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(self.end - offset)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a reader stands: file number, then offset."""

    file: int
    offset: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Finished pieces, and the place after them. ``whole``: there was no more to read."""

    segments: list[Segment]
    whole: bool
    after: Place


class Spool:
    """This boot's part. ``residences`` tells what is in flight, to be noted again."""

    def __init__(
        self,
        folder: Path,
        boot_id: str,
        *,
        file_bytes: int,
        bytes_max: int,
        residences: Callable[[], Iterable[Residence]] = tuple,
        keep_unread: bool = True,
    ) -> None:
        self.folder = folder / boot_id
        self._boot_id = boot_id
        self._file_bytes = file_bytes
        self._files_max = max(bytes_max // file_bytes, FILES_MIN)
        self._residences = residences
        self._keep_unread = keep_unread
        self.folder.mkdir(parents=True, mode=0o700)
        self._lock = _locked(self.folder)
        self._files: dict[int, _File] = {}
        self._number = 0
        self._current: _File
        self._ready: list[_File] = []  # made ahead: the last one is kept for endings
        self._made = 0
        self.lost = 0  # endings that could not be noted: no room, even on the reserve
        self._unsynced: set[Path] = set()
        self._rotate()
        self._synced = self.end  # what comes after it was not brought to the disk yet

    @property
    def end(self) -> Place:
        return Place(self._number, self._current.end)

    def gauges(self) -> dict[str, float]:
        """How much the brain has not taken yet, in whole files but for the last."""
        files = len(self._files)
        return {
            "spool_files": files,
            "spool_bytes": max(files - 1, 0) * self._file_bytes + self._current.end,
        }

    def opened(self, residence: Residence) -> None:
        """Note that a piece is open. Raises ``Unavailable`` when there is no room: serve nothing
        that could not be counted."""
        self._write(open_note(residence), residence.target, must=False)
        residence.marked_in = self._number

    def finished(self, residence: Residence) -> None:
        """Note a finished piece. Never refuses for the limit: what was served is counted."""
        try:
            self._write(piece_note(residence), residence.target, must=True)
        except Unavailable:
            self.lost += 1

    def tick(self, at_ns: int) -> None:
        """Note that all that is open was alive at this time."""
        self._note(tick_note(at_ns), None)

    def read(self, place: Place, limit: int) -> Batch:
        """Up to ``limit`` finished pieces from ``place`` on. Each place is to be read once, in
        order (or again from where the last reading began)."""
        found: list[Segment] = []
        number, offset = place.file, place.offset
        while True:
            file = self._files[number]
            content = file.content(offset)
            at = 0
            while at < len(content) and len(found) < limit:
                length, _ = _FRAME.unpack_from(content, at)
                start, at = at + _FRAME_BYTES, at + _FRAME_BYTES + length
                note = file.reader.read(content[start:at], finished_only=True)
                if type(note) is Finished:
                    found.append(note.segment)
            offset += at
            if len(found) >= limit or number == self._number:
                whole = number == self._number and offset >= file.end
                return Batch(found, whole, Place(number, offset))
            number, offset = number + 1, 0

    def release(self, place: Place) -> None:
        """All before ``place`` is in the brain's books: give up the files that lie before it."""
        self._give_up(place.file)

    def unsynced(self) -> list[Path]:
        """The files written to since the last call, for :func:`sync` in another thread."""
        if self._synced != self.end:
            self._unsynced.add(self._current.path)
            self._synced = self.end
        paths, self._unsynced = list(self._unsynced), set()
        return paths

    def close(self, *, empty: bool) -> None:
        """Let go; with ``empty`` all was shipped, and nothing stays on the disk."""
        for file in (*self._files.values(), *self._ready):
            file.map.close()
        self._files.clear()
        if empty:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def _note(self, payload: bytes, target: Target | None) -> None:
        """Write what may not be refused; when even the reserve is used up, count the loss."""
        try:
            self._write(payload, target, must=True)
        except Unavailable:
            self.lost += 1

    def _write(self, payload: bytes, target: Target | None, *, must: bool) -> None:
        file = self._current
        if target is None or target.number in file.targets:
            start, size = file.end, len(payload)
            end = start + _FRAME_BYTES + size
            if end <= self._file_bytes:
                file.map[start:end] = _frame(size, crc32(payload)) + payload
                file.end = end
                return
        else:
            note = target_note(target)
            if file.end + 2 * _FRAME_BYTES + len(note) + len(payload) <= self._file_bytes:
                file.targets.add(target.number)
                self._write(note, None, must=must)
                self._write(payload, target, must=must)
                return
        self._next_file(must=must)
        self._write(payload, target, must=must)

    def _next_file(self, *, must: bool) -> None:
        full = self._keep_unread and len(self._files) >= self._files_max
        if not must and (full or not self._prepare(2)):
            raise Unavailable("Usage cannot be recorded just now; try again.", retry_after=10)
        self._rotate()
        if not self._keep_unread and len(self._files) > self._files_max:
            self._give_up(min(self._files) + 1)

    def _prepare(self, count: int) -> bool:
        """Have ``count`` files ready; false when the disk has no room for them."""
        try:
            while len(self._ready) < count:
                self._ready.append(self._make_file(self._made + 1))
                self._made += 1
        except OSError:
            return False
        return True

    def _rotate(self) -> None:
        if not self._ready and not self._prepare(2) and not self._ready:
            raise Unavailable("Usage cannot be recorded just now; try again.", retry_after=10)
        if self._number:
            self._unsynced.add(self._current.path)
            self._current.map.close()
        self._number += 1
        self._current = self._files[self._number] = self._ready.pop(0)

    def _make_file(self, number: int) -> _File:
        """A file with its blocks taken: writing to a map on a full disk kills the process."""
        path = self.folder / f"{number:08d}.spool"
        flags = os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._file_bytes)
            made = mmap.mmap(descriptor, self._file_bytes)
            return _File(path, made, Reader(self._boot_id))
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)

    def _give_up(self, before: int) -> None:
        """Remove the files before this one; what is open and noted there is noted again first."""
        going = [number for number in self._files if number < before]
        if not going:
            return
        for residence in self._residences():
            if residence.marked_in < before:
                self._note(open_note(residence), residence.target)
                residence.marked_in = self._number
        for number in going:
            file = self._files.pop(number, None)
            if file is not None:
                file.map.close()
                file.path.unlink(missing_ok=True)


class Remains:
    """What a dead boot left. Holds the folder's lock until dropped or closed."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.boot_id = folder.name
        self._folder = folder
        self._lock = lock

    def segments(self) -> list[Segment]:
        """All that it counted; what was open ends as ``CUT``. The same each time it is read."""
        finished: dict[str, Segment] = {}
        open_pieces: dict[tuple[str, int], Segment] = {}
        last_pieces: dict[tuple[str, int], Segment] = {}
        alive_ns = 0
        for note in self._notes():
            if isinstance(note, Ticked):
                alive_ns = max(alive_ns, note.at_ns)
                continue
            piece = note.segment
            residence = (piece.request_id, piece.attempt)
            if isinstance(note, Opened):
                open_pieces[residence] = piece
                continue
            finished[piece.key] = piece
            open_pieces.pop(residence, None)
            if piece.end is SegmentEnd.OPEN:
                last_pieces[residence] = piece
            else:
                last_pieces.pop(residence, None)
        for residence, piece in open_pieces.items():
            last_pieces.pop(residence, None)
            end = cut_off(piece, alive_ns, piece_open=True)
            finished.setdefault(end.key, end)
        for piece in last_pieces.values():
            end = cut_off(piece, alive_ns, piece_open=False)
            finished.setdefault(end.key, end)
        return list(finished.values())

    def drop(self) -> None:
        """The brain has it all."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self.close()

    def close(self) -> None:
        os.close(self._lock)

    def _notes(self) -> Iterator[Note]:
        for path in sorted(self._folder.glob("*.spool")):
            yield from notes(path.read_bytes(), self.boot_id)


def sync(paths: Iterable[Path]) -> None:
    """Bring what was written to the disk. Slow: for a thread of its own."""
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # shipped and given up meanwhile
            continue
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)


def notes(content: bytes, boot_id: str) -> Iterator[Note]:
    """The notes of a file, up to the first record that is torn."""
    reader, offset = Reader(boot_id), 0
    while offset + _FRAME_BYTES <= len(content):
        length, crc = _FRAME.unpack_from(content, offset)
        start = offset + _FRAME_BYTES
        payload = content[start : start + length]
        if length == 0 or len(payload) < length or crc32(payload) != crc:
            return
        note = reader.read(payload)
        if note is not None:
            yield note
        offset = start + length


def find_remains(folder: Path, *, own: str) -> list[Remains]:
    """The folders of boots that are dead: those whose lock can be taken."""
    found: list[Remains] = []
    if not folder.is_dir():
        return found
    for boot in sorted(folder.iterdir()):
        if boot.name == own:
            continue
        try:
            lock = os.open(boot / LOCK, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):  # one that begins, or was just given up
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # its process lives
            os.close(lock)
            continue
        if os.fstat(lock).st_nlink:
            found.append(Remains(boot, lock))
        else:  # given up since it was opened
            os.close(lock)
    return found


def _locked(folder: Path) -> int:
    """The lock of a new folder. It has its name only once it is held: another process that looks
    for the dead meanwhile would take it, and keep it."""
    making = folder / f"{LOCK}.new"
    lock = os.open(making, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    making.rename(folder / LOCK)
    return lock
