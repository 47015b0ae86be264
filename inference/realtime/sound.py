"""Sound as bytes: what was heard and not yet used, and how a worker gets it. Pure."""

from __future__ import annotations

import struct

SAMPLE_BYTES = 2  # PCM16, one channel
RATES = (8000, 16000, 24000, 44100, 48000)


def milliseconds(size: int, rate: int) -> int:
    """How long so many bytes last."""
    return size * 1000 // (rate * SAMPLE_BYTES)


def bytes_of(ms: float, rate: int) -> int:
    """How many bytes last so long: whole samples."""
    return int(ms * rate // 1000) * SAMPLE_BYTES


def wav(sound: bytes, rate: int) -> bytes:
    """The sound as a file."""
    shape = struct.pack("<HHIIHH", 1, 1, rate, SAMPLE_BYTES * rate, SAMPLE_BYTES, 16)
    size = struct.pack("<I", 36 + len(sound))
    length = struct.pack("<I", len(sound))
    head = (b"RIFF", size, b"WAVEfmt ", struct.pack("<I", 16), shape, b"data", length)
    return b"".join((*head, sound))


class Room:
    """What all streams of a process may keep together."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.used = 0

    def take(self, size: int) -> bool:
        if self.used + size > self._bytes_max:
            return False
        self.used += size
        return True

    def give_back(self, size: int) -> None:
        self.used -= size


class Heard:
    """The sound of one stream: its last part is kept, the place of each byte in it known."""

    def __init__(self, rate: int, bytes_max: int, room: Room) -> None:
        self.rate = rate
        self._room = room
        self._bytes_max = bytes_max
        self._parts: list[bytes] = []
        self.size = 0
        self.total = 0  # bytes that ever came

    @property
    def start_ms(self) -> int:
        """Where what is kept begins, from the start of the stream."""
        return milliseconds(self.total - self.size, self.rate)

    @property
    def end_ms(self) -> int:
        return milliseconds(self.total, self.rate)

    def add(self, sound: bytes) -> bool:
        """False, and nothing is taken, when there is no room."""
        if self.size + len(sound) > self._bytes_max or not self._room.take(len(sound)):
            return False
        self._parts.append(sound)
        self.size += len(sound)
        self.total += len(sound)
        return True

    def full(self, more: int) -> bool:
        """So much more would be too much of this stream, whatever room there is."""
        return self.size + more > self._bytes_max

    def keep_last(self, ms: int) -> None:
        """Forget all but so much."""
        before, most = self.size, bytes_of(ms, self.rate)
        while self._parts and self.size - len(self._parts[0]) >= most:
            self.size -= len(self._parts.pop(0))
        extra = (self.size - most) // SAMPLE_BYTES * SAMPLE_BYTES
        if extra > 0:
            self._parts[0] = self._parts[0][extra:]
            self.size -= extra
        self._room.give_back(before - self.size)

    def peek(self) -> bytes:
        return b"".join(self._parts)

    def take(self) -> bytes:
        """All that is kept; nothing is kept then."""
        sound = self.peek()
        self._room.give_back(self.size)
        self._parts, self.size = [], 0
        return sound
