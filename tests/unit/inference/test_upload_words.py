"""What is heard, streamed, in both shapes."""

from __future__ import annotations

import pytest

from inference.sse import Phase
from inference.upload_words import WORDS, WordStream
from tests.unit.inference import sse

DELTA = b'data: {"type":"transcript.text.delta","delta":"Hel"}\n\n'
USAGE = b'"usage":{"type":"tokens","input_tokens":9,"output_tokens":4,"total_tokens":13}'
END = b'data: {"type":"transcript.text.done","text":"Hello",' + USAGE + b"}\n\n"
ERROR = b'data: {"type":"error","error":{"message":"no"}}\n\n'
pytestmark = pytest.mark.feature("A4")


def read(*pieces: bytes) -> tuple[WordStream, bytes]:
    stream = WORDS.stream(show_usage=False)
    assert isinstance(stream, WordStream)
    out = b"".join(stream.feed(piece) for piece in pieces)
    stream.close()
    return stream, out


def test_typed_events_come_out_as_they_are_at_any_cut() -> None:
    whole = DELTA + DELTA + END
    for cut in range(len(whole) + 1):
        stream, out = read(whole[:cut], whole[cut:])
        assert out == whole
        assert stream.phase is Phase.DONE
        assert stream.tokens() == (9, 4, False)


def test_without_their_end_they_are_not_whole() -> None:
    stream, out = read(DELTA)
    assert (stream.phase, out) == (Phase.BROKEN, DELTA)
    assert stream.tokens() == (0, 1, True)


def test_an_error_breaks_them() -> None:
    stream, out = read(DELTA, ERROR, END)
    assert (stream.phase, out) == (Phase.BROKEN, DELTA)


def test_chunks_are_those_of_a_chat() -> None:
    stream, out = read(sse.HELLO + sse.STOP + sse.DONE)
    assert stream.phase is Phase.DONE
    assert out == sse.HELLO + sse.STOP + sse.DONE
