"""Answers of every kind: what is whole, what is refused, what is broken."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.answer import KEPT_BYTES_MAX, Answer, State
from inference.verdict import TOO_SLOW, judge
from kernel.wire.gateway import SegmentEnd
from tests.unit.inference import sse

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "details": {"a": {}}}
PLAIN = json.dumps({"choices": [{"text": "hi"}], "usage": USAGE}).encode()
LONG = json.dumps({"data": "x" * (2 * KEPT_BYTES_MAX), "usage": USAGE, "more": None}).encode()


def take(
    *parts: bytes, status: int = 200, kind: bytes = b"application/json", end: bool = True
) -> tuple[bytes, Answer]:
    answer = Answer(show_usage=False)
    answer.head(status, kind, sum(map(len, parts)), b"")
    out = b"".join(answer.feed(part) for part in parts)
    if end:
        out += answer.end()
    else:
        answer.lost("cut")
    return out, answer


@given(st.lists(st.integers(0, 10**6), max_size=8))
def test_a_plain_answer_comes_out_whole_with_its_usage(places: list[int]) -> None:
    out, answer = take(*sse.cuts(PLAIN, places))
    assert (out, answer.state, answer.tokens()) == (PLAIN, State.COMPLETE, (5, 2, False))


@given(st.lists(st.integers(0, 10**6), max_size=8))
def test_a_long_answer_is_passed_on_and_its_usage_found_at_the_end(places: list[int]) -> None:
    out, answer = take(*sse.cuts(LONG, places))
    assert (out, answer.state, answer.tokens()) == (LONG, State.COMPLETE, (5, 2, False))


def test_a_long_answer_begins_before_it_ends() -> None:
    answer = Answer(show_usage=False)
    answer.head(200, b"application/json", len(LONG), b"")
    assert answer.feed(LONG[: KEPT_BYTES_MAX + 1]) == LONG[: KEPT_BYTES_MAX + 1]
    assert answer.state is State.GOING


@pytest.mark.feature("A12")
@pytest.mark.parametrize("end", range(len(PLAIN)))
def test_a_plain_answer_cut_anywhere_is_broken(end: int) -> None:
    assert take(PLAIN[:end])[1].state is State.BROKEN
    assert take(PLAIN[:end], end=False)[1].state is State.BROKEN


def test_an_error_under_status_200_is_broken() -> None:
    body = json.dumps({"error": {"message": "died", "code": 500}}).encode()
    assert take(body)[1].state is State.BROKEN


def test_missing_usage_is_an_estimate_and_zero_is_not() -> None:
    assert take(b'{"choices":[]}')[1].tokens() == (0, 0, True)
    zero = b'{"usage":{"prompt_tokens":0,"completion_tokens":0}}'
    assert take(zero)[1].tokens() == (0, 0, False)


@pytest.mark.parametrize(
    ("status", "code", "healthy", "again"),
    [
        (400, 400, True, False),
        (404, 404, True, False),
        (422, 422, True, False),
        (401, 502, False, True),
        (403, 502, False, True),
        (429, 429, None, True),
        (500, 502, False, True),
        (503, 503, False, True),
        (302, 502, False, True),
    ],
)
def test_what_a_status_means(status: int, code: int, healthy: bool | None, again: bool) -> None:
    found = judge(take(b'{"detail":"x"}', status=status)[1])
    told = getattr(found.error, "refusal_status", found.error.status)
    assert (told, found.healthy, found.again) == (code, healthy, again)


def test_a_request_that_the_worker_faults_in_its_stream_is_the_clients_error() -> None:
    error = sse.event({"error": {"message": "too long", "code": 400, "param": "messages"}})
    found = judge(take(error, kind=b"text/event-stream; charset=utf-8")[1])
    assert getattr(found.error, "refusal_status", 0) == 400
    assert not found.again


def test_a_late_worker_is_a_timeout() -> None:
    answer = Answer(show_usage=False)
    answer.lost(TOO_SLOW)
    found = judge(answer)
    assert (found.error.status, found.end) == (504, SegmentEnd.FAILED)


def test_a_worker_at_its_limit_says_when_to_come_back() -> None:
    answer = Answer(show_usage=False)
    answer.head(429, b"", 0, b"7")
    answer.end()
    assert judge(answer).error.retry_after == 7
