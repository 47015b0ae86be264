"""Words of a model, as they come; and where a voice may pause in them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.multipart import Form
from inference.realtime.form import form
from inference.realtime.sentences import MOST, Sentences
from inference.realtime.words import Words
from kernel.errors import OutOfCredit, UpstreamFailed
from tests.unit.inference import sse

pytestmark = pytest.mark.feature("A8")


def cut(*pieces: str) -> list[str]:
    sentences = Sentences()
    found = [one for piece in pieces for one in sentences.feed(piece)]
    rest = sentences.end()
    return [*found, rest] if rest else found


def test_sentences_are_spoken_as_soon_as_they_are_whole() -> None:
    sentences = Sentences()
    assert sentences.feed("This is the first one") == []
    assert sentences.feed(". And the") == ["This is the first one."]
    assert sentences.end() == "And the"


def test_short_ones_wait_for_more() -> None:
    assert cut("Yes. No. Maybe so, today. ") == ["Yes. No. Maybe so, today."]


def test_a_number_is_not_cut() -> None:
    assert cut("It costs about 3.50 dollars now. Fine?") == [
        "It costs about 3.50 dollars now.",
        "Fine?",
    ]


def test_wide_full_stops_need_no_blank() -> None:
    assert cut("今日はとてもいい天気ですね。明日もきっと晴れるでしょう。") == [
        "今日はとてもいい天気ですね。",
        "明日もきっと晴れるでしょう。",
    ]


@given(st.lists(st.text(alphabet="ab .!?\n", max_size=300), max_size=20))
def test_nothing_is_lost_and_no_piece_is_too_long(pieces: list[str]) -> None:
    found = cut(*pieces)
    assert "".join("".join(found).split()) == "".join("".join(pieces).split())
    assert all(len(one) <= MOST for one in found[:-1])


def test_words_of_a_chat_stream() -> None:
    words = Words()
    assert words.feed(sse.chunk({"role": "assistant"})) == ""
    assert words.feed(sse.HELLO + sse.chunk({"content": "!"})) == "Hello!"
    words.feed(sse.STOP + sse.DONE)
    assert (words.text, words.finish) == ("Hello!", "stop")


def test_words_of_a_plain_transcription() -> None:
    words = Words()
    assert words.feed(b'{"text": "Hello", "usage": {"type": "duration", "seconds": 2}}') == "Hello"
    assert words.failure("transcription") is None


@pytest.mark.parametrize(
    ("code", "kind"), [("insufficient_quota", OutOfCredit), ("upstream_failed", UpstreamFailed)]
)
def test_an_error_in_the_stream_is_a_failure(code: str, kind: type[Exception]) -> None:
    words = Words()
    error = {"message": "It failed.", "type": "x", "code": code}
    words.feed(sse.HELLO + b"data: " + json.dumps({"error": error}).encode() + b"\n\n")
    assert words.text == "Hello"
    assert isinstance(words.failure("chat"), kind)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"data: {\n\n", b"[]", b": ping\n\n"])
def test_what_has_no_words_says_nothing(content: bytes) -> None:
    assert Words().feed(content) == ""


def test_a_form_is_one_to_the_gateway() -> None:
    reader = Form(b"ours")
    out = reader.feed(form({"model": "ears", "stream": "true"}, b"\r\n--x\r\n sound", "req_1"))
    out += reader.close()
    assert (reader.model, reader.stream) == ("ears", True)
    assert b"\r\n--x\r\n sound" in out
