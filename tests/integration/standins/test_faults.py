"""Each fault of the stand-in worker, seen through the wire and through the official client."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import openai
import pytest

from tests.support.standin import StandIn, StartStandIn
from tests.support.wait import until

SECONDS_MAX = 60  # on a machine that is busy with other tests
MESSAGES: Any = [{"role": "user", "content": "Fail, please."}]


def body(model: str, **more: object) -> dict[str, object]:
    return {"model": model, "messages": MESSAGES, "max_tokens": 20, **more}


def raw(worker: StandIn, **more: object) -> tuple[bytes, Exception | None]:
    """All bytes of a chat answer that came, and the error that ended it."""
    received = b""
    url = f"{worker.url}/v1/chat/completions"
    try:
        asked = body(worker.model, **more)
        with httpx.stream("POST", url, json=asked, timeout=SECONDS_MAX) as answer:
            for piece in answer.iter_raw():
                received += piece
    except httpx.TransportError as error:
        return received, error
    return received, None


def client(worker: StandIn) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{worker.url}/v1", api_key="x", max_retries=0, timeout=SECONDS_MAX
    )


@pytest.fixture
def worker(stand_in_worker: StartStandIn) -> StandIn:
    return stand_in_worker("--tokens-per-second", "0", "--first-token-ms", "0")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("after", [0, 1, 100])
def test_a_cut_connection_ends_in_the_middle(worker: StandIn, stream: bool, after: int) -> None:
    worker.fail(fault="cut", after_bytes=after)
    received, error = raw(worker, stream=stream)
    assert len(received) == after
    assert isinstance(error, httpx.RemoteProtocolError)


def test_a_reset_is_a_reset(worker: StandIn) -> None:
    worker.fail(fault="cut", how="reset")
    received, error = raw(worker, stream=True)
    assert received == b""
    assert isinstance(error, httpx.ReadError)


@pytest.mark.parametrize("stream", [False, True])
def test_a_body_may_end_properly_with_half_its_content(worker: StandIn, stream: bool) -> None:
    worker.fail(fault="cut", how="end", after_bytes=150)
    received, error = raw(worker, stream=stream)
    assert (len(received), error) == (150, None)


def test_a_stall_is_silent_after_the_bytes_asked(worker: StandIn) -> None:
    worker.fail(fault="stall", after_bytes=300, seconds=0.3)
    started = time.monotonic()
    received, error = raw(worker, stream=True)
    assert time.monotonic() - started >= 0.3
    assert received.endswith(b"data: [DONE]\n\n")
    assert error is None


def test_a_late_worker_is_late_with_its_head(worker: StandIn) -> None:
    worker.fail(fault="late", seconds=0.3)
    url = f"{worker.url}/v1/chat/completions"
    started = time.monotonic()
    asked = body(worker.model, stream=True)
    with httpx.stream("POST", url, json=asked, timeout=SECONDS_MAX):
        assert time.monotonic() - started >= 0.3


def test_garbage_is_no_json(worker: StandIn) -> None:
    worker.fail(fault="garbage", after_bytes=10)
    received, error = raw(worker)
    assert error is None
    with pytest.raises(ValueError):
        json.loads(received)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_a_status_is_the_clients_own_error(
    worker: StandIn, status: int, kind: type[openai.APIStatusError]
) -> None:
    worker.fail(fault="status", status=status, retry_after="7")
    with pytest.raises(kind) as refused:
        client(worker).chat.completions.create(model=worker.model, messages=MESSAGES)
    assert refused.value.status_code == status
    assert refused.value.response.headers["retry-after"] == "7"


def test_an_error_frame_is_followed_by_done(worker: StandIn) -> None:
    worker.fail(fault="error_then_done", after_tokens=3)
    received, _ = raw(worker, stream=True)
    events = received.decode().strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[-2][6:])["error"]["code"] == 500
    assert len(events) == 1 + 3 + 2  # role, three tokens, error, done


def test_the_client_raises_on_an_error_frame(worker: StandIn) -> None:
    worker.fail(fault="error_then_done", after_tokens=3)
    stream = client(worker).chat.completions.create(
        model=worker.model, messages=MESSAGES, stream=True
    )
    with pytest.raises(openai.APIError):
        list(stream)


@pytest.mark.parametrize("stream", [False, True])
def test_an_aborted_answer_looks_whole_but_for_its_reason(worker: StandIn, stream: bool) -> None:
    worker.fail(fault="abort", after_tokens=4)
    received, error = raw(worker, stream=stream)
    assert error is None
    assert received.count(b'"finish_reason":"abort"') == 1
    assert received.endswith(b"[DONE]\n\n") == stream


@pytest.mark.parametrize(("fault", "done"), [("no_finish", True), ("no_done", False)])
def test_a_stream_may_lack_its_end(worker: StandIn, fault: str, done: bool) -> None:
    worker.fail(fault=fault)
    received, error = raw(worker, stream=True)
    assert error is None
    assert received.endswith(b"[DONE]\n\n") == done
    assert (b'"finish_reason":"length"' in received) != done


def test_a_worker_may_die(worker: StandIn) -> None:
    worker.fail(fault="die", after_bytes=200, exit_code=3)
    received, error = raw(worker, stream=True)
    assert len(received) == 200
    assert error is not None
    assert worker.process.wait(SECONDS_MAX) == 3


def test_the_request_after_a_fault_is_answered(worker: StandIn) -> None:
    worker.fail(fault="cut", after_bytes=50, next=2)
    assert [raw(worker)[1] is None for _ in range(3)] == [False, False, True]


def test_faults_may_be_given_at_the_start(stand_in_worker: StartStandIn) -> None:
    worker = stand_in_worker("--faults", '[{"fault": "status", "status": 503}]')
    with pytest.raises(openai.InternalServerError):
        client(worker).embeddings.create(model=worker.model, input="x")


async def test_a_hang_up_during_a_stall_is_an_abort(worker: StandIn) -> None:
    worker.fail(fault="stall", after_bytes=300)
    url = f"{worker.url}/v1/chat/completions"
    asked = body(worker.model, stream=True)
    with httpx.stream("POST", url, json=asked, timeout=SECONDS_MAX) as answer:
        assert len(next(answer.iter_raw())) > 0
    await until(lambda: worker.state()["requests_aborted"] == 1)
    assert worker.state()["running"] == 0
