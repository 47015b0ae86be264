"""The durable spool of usage: what a killed gateway leaves behind is all there.

A memory-mapped file takes each record without a system call, and what is written there survives
the death of any process; ``fdatasync`` off the loop guards against loss of power. Records are
framed ``length, crc32, payload``, the frame last, so that a torn tail ends the reading.

Kinds of records: ``O`` an open piece, ``S`` a finished piece (its JSON is shipped as it stands),
``T`` a tick: all pieces that are open here were alive then. Files are given up in order as soon as
the brain has what they hold; an open piece that was noted in one is noted again before that.

A folder holds one folder a boot: ``<boot_id>/lock``, held while its process lives, and
``<boot_id>/<number>.spool``.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from zlib import crc32

import msgspec

from inference.meter import Residence, cut_off
from kernel.errors import Unavailable
from kernel.wire.gateway import Segment, SegmentEnd

FILES_MIN = 8
OPEN, PIECE, TICK = b"O", b"S", b"T"
_FRAME = Struct("<II")
_NUMBER = Struct("<Q")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Segment).decode


@dataclass(slots=True)
class _File:
    """The map of the file that is written to; of the others only the path is kept."""

    path: Path
    map: mmap.mmap
    end: int = 0  # bytes written

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
    """Finished pieces as raw JSON, and the place after them."""

    segments: list[bytes]
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
        self._file_bytes = file_bytes
        self._files_max = max(bytes_max // file_bytes, FILES_MIN)
        self._residences = residences
        self._keep_unread = keep_unread
        self.folder.mkdir(parents=True, mode=0o700)
        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC
        self._lock = os.open(self.folder / "lock", flags, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._files: dict[int, _File] = {}
        self._number = 0
        self._current: _File
        self._ready: list[_File] = []  # made ahead: the last one is kept for endings
        self._made = 0
        self.lost = 0  # endings that could not be noted: no room, even on the reserve
        self._unsynced: set[Path] = set()
        self._rotate()

    @property
    def end(self) -> Place:
        return Place(self._number, self._current.end)

    def opened(self, residence: Residence) -> None:
        """Note that a piece is open. Raises ``Unavailable`` when there is no room: serve nothing
        that could not be counted."""
        self._write(OPEN + _encode(residence.segment))
        residence.marked_in = self._number

    def finished(self, piece: Segment) -> None:
        """Note a finished piece. Never refuses for the limit: what was served is counted."""
        self._note(PIECE + _encode(piece))

    def tick(self, at_ns: int) -> None:
        """Note that all that is open was alive at this time."""
        self._note(TICK + _NUMBER.pack(at_ns))

    def read(self, place: Place, limit: int) -> Batch:
        """Up to ``limit`` finished pieces from ``place`` on."""
        found: list[bytes] = []
        number, offset = place.file, place.offset
        while True:
            content = self._files[number].content(offset)
            at = 0
            while at < len(content) and len(found) < limit:
                length, _ = _FRAME.unpack_from(content, at)
                start = at + _FRAME.size
                if content[start : start + 1] == PIECE:
                    found.append(content[start + 1 : start + length])
                at = start + length
            offset += at
            if len(found) >= limit or number == self._number:
                return Batch(found, Place(number, offset))
            number, offset = number + 1, 0

    def release(self, place: Place) -> None:
        """All before ``place`` is in the brain's books: give up the files that lie before it."""
        self._give_up(place.file)

    def unsynced(self) -> list[Path]:
        """The files written to since the last call, for :func:`sync` in another thread."""
        self._unsynced.add(self._current.path)
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

    def _note(self, payload: bytes) -> None:
        """Write what may not be refused; when even the reserve is used up, count the loss."""
        try:
            self._write(payload, must=True)
        except Unavailable:
            self.lost += 1

    def _write(self, payload: bytes, *, must: bool = False) -> None:
        file = self._current
        start = file.end + _FRAME.size
        end = start + len(payload)
        if end + _FRAME.size > self._file_bytes:
            self._next_file(must=must)
            file = self._current
            start = file.end + _FRAME.size
            end = start + len(payload)
        file.map[start:end] = payload
        _FRAME.pack_into(file.map, file.end, len(payload), crc32(payload))
        file.end = end

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
            return _File(path, mmap.mmap(descriptor, self._file_bytes))
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
                self._note(OPEN + _encode(residence.segment))
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
        for kind, payload in self._records():
            if kind == TICK:
                alive_ns = max(alive_ns, *_NUMBER.unpack(payload))
                continue
            piece = _decode(payload)
            residence = (piece.request_id, piece.attempt)
            if kind == OPEN:
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

    def _records(self) -> Iterator[tuple[bytes, bytes]]:
        for path in sorted(self._folder.glob("*.spool")):
            yield from records(path.read_bytes())


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


def records(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The whole records of a file, as (kind, payload), up to the first that is torn."""
    offset = 0
    while offset + _FRAME.size <= len(content):
        length, crc = _FRAME.unpack_from(content, offset)
        start = offset + _FRAME.size
        payload = content[start : start + length]
        if length == 0 or len(payload) < length or crc32(payload) != crc:
            return
        yield payload[:1], payload[1:]
        offset = start + length


def find_remains(folder: Path, *, own: str) -> list[Remains]:
    """The folders of boots that are dead: those whose lock can be taken."""
    found: list[Remains] = []
    if not folder.is_dir():
        return found
    for boot in sorted(folder.iterdir()):
        if boot.name == own or not (boot / "lock").is_file():
            continue
        lock = os.open(boot / "lock", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # its process lives
            os.close(lock)
            continue
        found.append(Remains(boot, lock))
    return found
