"""Error answers: the status, body and headers that the OpenAI clients act on."""

from __future__ import annotations

import json

import pytest

from inference import errors
from inference.requests import RequestIds
from inference.routes import Kind, every_route, find
from kernel.clock import ManualClock
from kernel.errors import GanglionError, LimitReached, NotFound, OutOfCredit, Unavailable
from kernel.ids import RequestId, SeededIds


def parts(error: GanglionError, **how: bool) -> tuple[int, dict[str, str], bytes]:
    head, _, body = errors.answer_of(error, "req_1", close=how.get("close", False)).partition(
        b"\r\n\r\n"
    )
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


@pytest.mark.feature("A9")
@pytest.mark.parametrize(
    ("error", "status", "retry", "wait"),
    [
        (OutOfCredit("x"), 402, "false", None),
        (NotFound("x"), 404, "false", None),
        (LimitReached("x", retry_after=7), 429, "true", "7"),
        (LimitReached("x"), 429, "true", "1"),
        (Unavailable("x", retry_after=900), 503, "true", "120"),
    ],
)
def test_headers_say_whether_and_when_to_retry(
    error: GanglionError, status: int, retry: str, wait: str | None
) -> None:
    told, headers, body = parts(error)
    assert (told, headers["x-should-retry"], headers.get("retry-after")) == (status, retry, wait)
    assert int(headers["content-length"]) == len(body)
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


def test_an_answer_to_head_has_no_body() -> None:
    whole = errors.answer_of(NotFound("x"), "req_1", close=True, head_only=True)
    assert whole.endswith(b"connection: close\r\n\r\n")


OPENAI_BODY = b'{"error":{"message":"bad","type":"t","param":null,"code":1,"extra":2}}'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (OPENAI_BODY, "bad"),
        (b'{"object":"error","message":"old shape","code":400}', "old shape"),
        (b'{"error":"just text"}', "just text"),
        (b'{"detail":"Not Found"}', "The worker of this deployment does not serve this route"),
        (b"<html>", "The worker of this deployment does not serve this route"),
        (b"", "The worker of this deployment does not serve this route"),
    ],
)
def test_a_workers_refusal_reaches_the_client_in_openais_shape(body: bytes, message: str) -> None:
    status, _, told = parts(errors.WorkerRefused(404, body))
    assert status == 404
    assert json.loads(told)["error"]["message"].startswith(message)


def test_a_refusal_in_the_right_shape_is_passed_on_byte_for_byte() -> None:
    assert parts(errors.WorkerRefused(400, OPENAI_BODY))[2] == OPENAI_BODY


@pytest.mark.feature("A9")
@pytest.mark.parametrize("name", [b"chat", b"responses", b"messages"])
def test_a_refusal_inside_a_stream_has_the_workers_words_on_one_line(name: bytes) -> None:
    """So it is where comments were sent before any worker was asked."""
    said = b'{"error": {\n "message": "too long",\n "type": "t", "param": "p", "code": 400}}'
    path = {b"chat": b"/v1/chat/completions"}.get(name, b"/v1/" + name)
    route = find(path)
    assert route is not None
    frame = route.dialect.frame_of(errors.WorkerRefused(400, said))
    line = frame.removesuffix(b"\n\n").splitlines()[-1]
    assert frame.count(b"\n") == (2 if name == b"chat" else 3)
    told = json.loads(line.removeprefix(b"data: "))["error"]
    assert told["message"] == "too long"
    if name != b"messages":
        assert (told["type"], told["param"], told["code"]) == ("t", "p", 400)


def test_only_health_and_metrics_are_open() -> None:
    opened = {route.path for route in every_route() if route.kind is Kind.OPEN}
    assert opened == {b"/health/live", b"/health/ready", b"/metrics"}


@pytest.mark.parametrize("path", [b"", b"/", b"/v1", b"/v1/models/", b"/v1/chat", b"*"])
def test_other_paths_are_no_routes(path: bytes) -> None:
    assert find(path) is None


def test_request_ids_are_ids_and_differ() -> None:
    clock = ManualClock()
    one = RequestIds(clock, SeededIds(clock, 1))
    made = [one.new() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert made == sorted(made)
    assert RequestId.parse(made[0]).uuid.version == 7
