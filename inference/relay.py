"""Events of a stream that are passed on in the chunks they came in.

A worker sends one event in a chunk of its own, and one event differs from the last in its text. One
that was read is the sample; what is like it needs no reading. A chunk's cost is the number of steps
here (``What a streamed chunk costs`` in docs/performance.md).
"""

from __future__ import annotations

import re

from inference.client import Write
from inference.sse import FLOWING
from inference.stream import SseStream

CHUNK_BYTES_MAX = 4096  # a longer one is not looked at here
CHUNK_END = b"\n\n\r\n"  # of the event, and of the chunk that holds it
SAMPLES_MAX = 8  # a model that thinks changes the name of the member once
DATA = b"data: "
_TEXT = re.compile(rb'"(?:content|text|reasoning_content|reasoning)":\s?"')
_USAGE = b'"usage"'
_CONTENT, _REASONING = b'"content":"', b'"reasoning'  # mostly the one, and without the other
PLAIN = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))  # stands in a JSON string as it is
Frame = tuple[bytes, int]  # how a chunk begins, up to its text; bytes of the text
_NONE: Frame = (b"", -1)  # no chunk is like it


def _starts() -> list[bytes]:
    """How a chunk of each length begins that holds one event of one line."""
    found = [b"\0"] * CHUNK_BYTES_MAX  # begins no chunk
    for size in range(len(DATA) + 2, CHUNK_BYTES_MAX - 16):
        head = b"%x\r\n" % size
        found[len(head) + size + 2] = head + DATA
    return found


_STARTS = _starts()


def data_start(received: bytes) -> int:
    """Where the event's data begin if this may be a chunk with one event of one line, else 0."""
    if len(received) >= CHUNK_BYTES_MAX:
        return 0
    start = _STARTS[len(received)]
    return len(start) if received.startswith(start) and received.endswith(CHUNK_END) else 0


class _Frames(dict[int, Frame]):
    """What a chunk of each length that is like the sample begins with; made when first met."""

    def __init__(self, head: bytes, tail: bytes) -> None:
        self.ends = head, tail

    def __missing__(self, size: int) -> Frame:
        head, tail = self.ends
        if size >= CHUNK_BYTES_MAX or not tail:
            return _NONE
        start = _STARTS[size] + head
        frame = self[size] = (start, size - len(start) - len(tail))
        return frame


_NOTHING = _Frames(b"", b"")  # before anything was read


class Relay:
    """One stream's way past all reading.

    A chunk that differs from one that was read in nothing but a text, where both texts are plain
    (ASCII, nothing escaped), says the same: one JSON string stands for another. In valid JSON
    ``"content":"`` begins a member's value: inside a string its quotes would be escaped.
    """

    __slots__ = ("_looked", "_samples", "frames", "send", "stream", "tail")

    def __init__(self, stream: SseStream, send: Write) -> None:
        self.stream = stream
        self.send = send
        self.tail = b""
        self.frames = _NOTHING
        self._samples = 0
        self._looked = 0  # chunks at the last look

    def like(self, chunk: bytes) -> bool:
        """Whether it differs from the sample in its text alone: then it is counted, and for the
        caller to ``send``. In as few steps as can be."""
        start, size = self.frames[len(chunk)]
        text = chunk.removeprefix(start).removesuffix(self.tail)
        if len(text) != size or text.translate(None, PLAIN):
            return False
        self.stream.chunks_since_usage += 1
        return True

    def take(self, chunk: bytes, start: int) -> bool:
        """Read an event whose data begin at ``start``, and pass it on if it is a usual one."""
        payload = chunk[start : -len(CHUNK_END)]
        if b"\n" in payload or not self.stream.passes(payload):
            return False
        self.send(chunk)
        if not (self._samples and self.stream.ending):  # the last one is like no other
            self.learn(chunk, start)
        return True

    def first(self, chunk: bytes, start: int) -> Relay | None:
        """Take the event with the first content as the sample, if it went out as it came. Gives
        itself where more may follow."""
        stream = self.stream
        if stream.phase is not FLOWING:
            return None
        if stream.usage is None and not (
            _USAGE in chunk or b"\n" in chunk[start : -len(CHUNK_END)]
        ):
            self.learn(chunk, start)
        return self

    def went_on(self) -> bool:
        """Whether anything was passed on since the last look."""
        looked, self._looked = self._looked, self.stream.chunks_since_usage
        return looked != self._looked

    def learn(self, chunk: bytes, start: int) -> None:
        """Take an event that was read, found good and passed on as it came as the sample."""
        text = chunk.find(_CONTENT, start) + len(_CONTENT)
        if text < len(_CONTENT) or _REASONING in chunk:
            found = _TEXT.search(chunk, start)
            text = 0 if found is None else found.end()
        if not text or self._samples == SAMPLES_MAX:
            return
        end = chunk.index(b'"', text)
        if chunk[text:end].translate(None, PLAIN):
            return  # the quote may be an escaped one
        head, tail = chunk[start:text], chunk[end:]
        if (head, tail) == self.frames.ends:
            return  # what came between was of another kind
        self._samples += 1
        self.tail = tail
        self.frames = _Frames(head, tail)
