"""Typed events of responses and messages: wherever they are cut, nothing incomplete looks whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.events import MESSAGES, RESPONSES, EventStream, Grammar
from inference.sse import Phase


def event(kind: str, **members: Any) -> bytes:
    text = json.dumps({"type": kind, **members})
    return f"event: {kind}\ndata: {text}\n\n".encode()


RESPONSE = (
    event("response.created", response={"status": "in_progress", "usage": None}),
    event("response.in_progress", response={"status": "in_progress"}),
    event("response.output_item.added", item={"type": "message"}),
    event("response.output_text.delta", delta="Hel"),
    event("response.output_text.delta", delta="lo"),
    event("response.completed", response={"usage": {"input_tokens": 7, "output_tokens": 2}}),
)
MESSAGE = (
    event("message_start", message={"id": "m", "usage": {"input_tokens": 7, "output_tokens": 0}}),
    event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    event("ping"),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hel"}),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": "lo"}),
    event("content_block_stop", index=0),
    event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 2}),
    event("message_stop"),
)
BOTH = pytest.mark.parametrize(
    ("grammar", "whole"),
    [(RESPONSES, RESPONSE), (MESSAGES, MESSAGE)],
    ids=["responses", "messages"],
)


def run(grammar: Grammar, *parts: bytes) -> tuple[bytes, EventStream]:
    stream = EventStream(grammar)
    out = b"".join(stream.feed(part) for part in parts)
    stream.close()
    return out, stream


@BOTH
def test_a_whole_answer_comes_out_as_it_came(grammar: Grammar, whole: tuple[bytes, ...]) -> None:
    out, stream = run(grammar, *whole)
    assert out == b"".join(whole)
    assert stream.phase is Phase.DONE
    assert stream.tokens() == (7, 2, False)


@BOTH
@given(data=st.data())
def test_cut_at_any_byte_it_is_never_complete(
    grammar: Grammar, whole: tuple[bytes, ...], data: st.DataObject
) -> None:
    text = b"".join(whole)
    end = data.draw(st.integers(0, len(text) - 2))
    cuts = sorted(data.draw(st.lists(st.integers(0, end), max_size=6)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, end], strict=True)]
    out, stream = run(grammar, *parts)
    assert stream.phase is Phase.BROKEN
    assert text.startswith(out)
    assert whole[-1] not in out
    assert stream.tokens()[2], "tokens at a cut are an estimate"


@BOTH
def test_nothing_comes_out_before_content(grammar: Grammar, whole: tuple[bytes, ...]) -> None:
    stream = EventStream(grammar)
    assert stream.feed(b"".join(whole[:2])) == b""
    assert stream.phase is Phase.HELD


@BOTH
@pytest.mark.parametrize("at", [0, 3, 4])
@pytest.mark.parametrize(
    "wrong",
    [
        event("error", error={"type": "overloaded_error", "message": "too much"}),
        event("error", message="too much", code="server_error"),
        b'data: {"error": {"message": "too much"}, "type": "x"}\n\n',
    ],
)
def test_an_error_inside_ends_it(
    grammar: Grammar, whole: tuple[bytes, ...], at: int, wrong: bytes
) -> None:
    out, stream = run(grammar, *whole[:at], wrong, *whole[at:])
    assert stream.phase is Phase.BROKEN
    assert wrong not in out
    assert whole[-1] not in out
    assert stream.error is not None
    assert stream.error.message == "too much"


@BOTH
@pytest.mark.parametrize("wrong", [b"data: {\n\n", b"data: []\n\n", b"junk\n\n", b"data: {}\n\n"])
def test_what_is_no_typed_event_breaks_it(
    grammar: Grammar, whole: tuple[bytes, ...], wrong: bytes
) -> None:
    _, stream = run(grammar, *whole[:4], wrong, *whole[4:])
    assert stream.phase is Phase.BROKEN


def test_a_failed_response_tells_why() -> None:
    failed = event("response.failed", response={"error": {"message": "no memory", "code": "x"}})
    _, stream = run(RESPONSES, *RESPONSE[:3], failed)
    assert stream.phase is Phase.BROKEN
    assert stream.error is not None
    assert stream.error.message == "no memory"


def test_a_response_that_reached_its_limit_is_whole() -> None:
    usage = {"input_tokens": 1, "output_tokens": 9}
    last = event("response.incomplete", response={"usage": usage, "status": "incomplete"})
    out, stream = run(RESPONSES, *RESPONSE[:-1], last)
    assert out.endswith(last)
    assert stream.tokens() == (1, 9, False)


def test_a_message_without_a_stop_reason_is_not_whole() -> None:
    _, stream = run(MESSAGES, *MESSAGE[:-2], MESSAGE[-1])
    assert stream.phase is Phase.BROKEN
