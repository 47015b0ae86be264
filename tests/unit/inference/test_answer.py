"""Answers of every kind: what is whole, what is refused, what is broken."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.answer import Answer, State
from inference.routes import CHAT
from inference.verdict import TOO_SLOW, judge
from kernel.wire.gateway import SegmentEnd
from tests.unit.inference import sse

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "details": {"a": {}}}
PLAIN = json.dumps({"choices": [{"text": "hi"}], "usage": USAGE}).encode()
LONG = json.dumps({"data": "x" * 140_000, "usage": USAGE, "more": None}).encode()


def whole(content: bytes, *, status: int = 200, retry_after: bytes = b"") -> Answer:
    answer = Answer(CHAT, show_usage=False)
    answer.take(status, b"application/json", retry_after, content)
    return answer


def in_pieces(*parts: bytes, kind: bytes = b"application/json") -> tuple[bytes, Answer]:
    answer = Answer(CHAT, show_usage=False)
    answer.head(200, kind, sum(map(len, parts)))
    out = b"".join(answer.feed(part) for part in parts)
    answer.end()
    return out, answer


def test_a_whole_plain_answer_tells_its_usage() -> None:
    answer = whole(PLAIN)
    assert (answer.state, answer.tokens()) == (State.COMPLETE, (5, 2, False))


@given(st.lists(st.integers(0, 10**6), max_size=8))
def test_a_long_answer_is_passed_on_and_its_usage_found_at_the_end(places: list[int]) -> None:
    out, answer = in_pieces(*sse.cuts(LONG, places))
    assert (out, answer.state, answer.tokens()) == (LONG, State.COMPLETE, (5, 2, False))


@pytest.mark.parametrize(
    "tail", [b"", b'"usage"', b'"usage":', b'"usage":{"prompt_tokens"', b'"usage":5', b'"usage":[]']
)
def test_a_tail_without_whole_usage_is_an_estimate(tail: bytes) -> None:
    assert in_pieces(b"x" * 70_000, tail)[1].tokens() == (0, 0, True)


@pytest.mark.parametrize("behind", ['"usage"', "null", "[1]", '{"usage":1}', "5"])
def test_a_member_of_the_same_name_behind_it_does_not_hide_usage(behind: str) -> None:
    """Such as what a client wrote into ``metadata``, which some workers tell again."""
    tail = f',"usage":{json.dumps(USAGE)},"metadata":{{"usage":{behind}}}}}'.encode()
    assert in_pieces(b"x" * 70_000, tail)[1].tokens() == (5, 2, False)


@pytest.mark.feature("A12")
@pytest.mark.parametrize("end", range(len(PLAIN)))
def test_a_plain_answer_cut_anywhere_is_broken(end: int) -> None:
    assert whole(PLAIN[:end]).state is State.BROKEN


def test_what_is_lost_is_broken() -> None:
    answer = Answer(CHAT, show_usage=False)
    answer.lost("cut")
    assert (answer.state, answer.reason) == (State.BROKEN, "cut")


def test_an_answer_that_the_engine_gave_up_is_broken() -> None:
    answer = Answer(CHAT, show_usage=False)
    answer.take(200, b"application/json", b"", b'{"choices":[{"finish_reason":"abort"}]}')
    assert answer.state is State.BROKEN


def test_an_error_under_status_200_is_broken() -> None:
    body = json.dumps({"error": {"message": "died", "code": 500}}).encode()
    assert whole(body).state is State.BROKEN


def test_missing_usage_is_an_estimate_and_zero_is_not() -> None:
    assert whole(b'{"choices":[]}').tokens() == (0, 0, True)
    zero = b'{"usage":{"prompt_tokens":0,"completion_tokens":0}}'
    assert whole(zero).tokens() == (0, 0, False)


@pytest.mark.parametrize(
    ("status", "code", "healthy", "again"),
    [
        (400, 400, True, False),
        (404, 404, True, False),
        (422, 422, True, False),
        (401, 502, False, True),
        (402, 502, False, True),  # its money is not the client's
        (403, 502, False, True),
        (429, 429, None, True),
        (500, 502, False, True),
        (503, 503, None, True),  # it is full, as vLLM says it
        (302, 502, False, True),
    ],
)
def test_what_a_status_means(status: int, code: int, healthy: bool | None, again: bool) -> None:
    found = judge(whole(b'{"detail":"x"}', status=status))
    told = getattr(found.error, "refusal_status", found.error.status)
    assert (told, found.healthy, found.again) == (code, healthy, again)


def test_a_request_that_the_worker_faults_in_its_stream_is_the_clients_error() -> None:
    error = sse.event({"error": {"message": "too long", "code": 400, "param": "messages"}})
    found = judge(in_pieces(error, kind=b"text/event-stream; charset=utf-8")[1])
    assert getattr(found.error, "refusal_status", 0) == 400
    assert not found.again


def test_a_late_worker_is_a_timeout() -> None:
    answer = Answer(CHAT, show_usage=False)
    answer.lost(TOO_SLOW)
    found = judge(answer)
    assert (found.error.status, found.end) == (504, SegmentEnd.FAILED)


def test_a_worker_at_its_limit_says_when_to_come_back() -> None:
    assert judge(whole(b"", status=429, retry_after=b"7")).error.retry_after == 7
