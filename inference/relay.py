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
_NOTHING = b"\0"  # begins no chunk


def _starts() -> list[bytes]:
    """How a chunk of each length begins that holds one event of one line."""
    found = [_NOTHING] * (CHUNK_BYTES_MAX + 1)
    for size in range(len(DATA) + 2, CHUNK_BYTES_MAX - 16):
        head = b"%x\r\n" % size
        found[len(head) + size + 2] = head + DATA
    return found


STARTS = _starts()


def data_start(received: bytes) -> int:
    """Where the event's data begin if this may be a chunk with one event of one line, else 0."""
    if len(received) > CHUNK_BYTES_MAX:
        return 0
    start = STARTS[len(received)]
    return len(start) if received.startswith(start) and received.endswith(CHUNK_END) else 0


class Relay:
    """One stream's way past all reading.

    A chunk that differs from one that was read in nothing but a text, where both texts are plain
    (ASCII, nothing escaped), says the same: one JSON string stands for another. In valid JSON
    ``"content":"`` begins a member's value: inside a string its quotes would be escaped.
    """

    __slots__ = ("_looked", "_samples", "head", "send", "stream", "tail")

    def __init__(self, stream: SseStream, send: Write) -> None:
        self.stream = stream
        self.send = send
        self.head = _NOTHING  # of the sample's event, up to its text
        self.tail = b""
        self._samples = 0
        self._looked = 0  # chunks at the last look

    def like(self, chunk: bytes) -> bool:
        """Whether it differs from the sample in its text alone: then it is counted, and for the
        caller to ``send``. In as few steps as can be."""
        size, tail = len(chunk), self.tail
        if size > CHUNK_BYTES_MAX:
            return False
        start = STARTS[size] + self.head
        text = chunk.removeprefix(start).removesuffix(tail)
        if len(start) + len(text) + len(tail) != size or text.translate(None, PLAIN):
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
        if (head, tail) == (self.head, self.tail):
            return  # what came between was of another kind
        self._samples += 1
        self.head, self.tail = head, tail
