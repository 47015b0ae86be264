"""Every route that a worker serves, by its official client, through the real gateway."""

from __future__ import annotations

import asyncio
import io
import json
import wave
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from inference.stream import DONE_FRAME
from kernel.wire.gateway import AccountRow, SegmentEnd
from tests.support.gateway import KEY, Gateway, StartGateway, key_row, launch, snapshot
from tests.support.standin import MODEL, StandIn
from tests.support.wait import until
from tests.support.workers_routes import request

ASKED: Any = {"messages": [{"role": "user", "content": "Which node runs the model?"}]}
STOPPED, STOPPED_KEY = "acct_" + "0" * 31 + "4", "gk_" + "s" * 43
SERVED = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/messages",
    "/v1/rerank",
    "/v2/rerank",
    "/v1/score",
    "/v1/images/generations",
    "/v1/audio/speech",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
]
TYPED = ["/v1/responses", "/v1/messages"]
HEADERS = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def gateway(quick_stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    port = int(quick_stand_in.url.rsplit(":", 1)[1])
    tables = snapshot(port, upstream_model=MODEL)
    tables.accounts.append(AccountRow(STOPPED, stopped=True))
    tables.keys.append(key_row(STOPPED_KEY, STOPPED))
    started = launch(tmp_path_factory.mktemp("gateway"), tables)
    yield started
    started.kill()


@pytest.fixture(autouse=True)
def healthy(quick_stand_in: StandIn) -> Iterator[None]:
    """No test leaves a fault to the next."""
    yield
    httpx.delete(f"{quick_stand_in.url}/stand-in/faults", timeout=10).raise_for_status()


@pytest.fixture
def failing(start_gateway: StartGateway, quick_stand_in: StandIn) -> Gateway:
    """A gateway of the test's own, as its breaker will rest the worker."""
    port = int(quick_stand_in.url.rsplit(":", 1)[1])
    return start_gateway(snapshot(port, upstream_model=MODEL))


def claude(gateway: Gateway, key: str = KEY) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=gateway.url, api_key=key, timeout=30, max_retries=0)


@pytest.mark.feature("A16")
@pytest.mark.feature("A17")
@pytest.mark.feature("A18")
@pytest.mark.parametrize("path", SERVED)
def test_a_route_answers_and_is_counted_once(gateway: Gateway, path: str) -> None:
    before = len(gateway.segments())
    sent = request(path, "m")
    answer = httpx.post(f"{gateway.url}{path}", headers=HEADERS, timeout=30, **sent)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-request-id"].startswith("req_")
    assert len(gateway.segments()) == before + 1
    last = gateway.segments()[-1]
    assert last.end is SegmentEnd.DONE
    assert last.end_ns > last.start_ns


@pytest.mark.feature("A16")
@pytest.mark.parametrize("stream", [False, True])
def test_responses(gateway: Gateway, stream: bool) -> None:
    client = gateway.client()
    if not stream:
        answer = client.responses.create(model="m", input="hi")
        assert answer.status == "completed"
        assert answer.output_text
        return
    with client.responses.stream(model="m", input="hi") as events:
        kinds = [event.type for event in events]
        final = events.get_final_response()
    assert kinds[-1] == "response.completed"
    assert final.usage is not None
    assert gateway.segments()[-1].completion_tokens == final.usage.output_tokens > 0


@pytest.mark.feature("A17")
@pytest.mark.parametrize("stream", [False, True])
def test_messages(gateway: Gateway, stream: bool) -> None:
    client = claude(gateway)
    asked: Any = {"model": "m", "max_tokens": 12, **ASKED}
    if stream:
        with client.messages.stream(**asked) as events:
            answer: Any = events.get_final_message()
    else:
        answer = client.messages.create(**asked)
    assert answer.content[0].text
    assert answer.stop_reason in ("end_turn", "max_tokens")
    assert gateway.segments()[-1].completion_tokens == answer.usage.output_tokens > 0


@pytest.mark.feature("A17")
def test_tokens_are_counted(gateway: Gateway) -> None:
    assert claude(gateway).messages.count_tokens(model="m", **ASKED).input_tokens > 0


@pytest.mark.feature("A9", "A17")
@pytest.mark.parametrize(
    ("key", "changed", "raised", "kind"),
    [
        ("gk_" + "x" * 43, {}, anthropic.AuthenticationError, "authentication_error"),
        (KEY, {"model": "none"}, anthropic.NotFoundError, "not_found_error"),
        (KEY, {"max_tokens": -1}, anthropic.BadRequestError, "invalid_request_error"),
        (STOPPED_KEY, {}, anthropic.APIStatusError, "billing_error"),
    ],
)
def test_errors_have_anthropics_shape(
    gateway: Gateway, key: str, changed: dict[str, Any], raised: type[Exception], kind: str
) -> None:
    asked: Any = {"model": "m", "max_tokens": 5, **ASKED, **changed}
    with pytest.raises(raised) as caught:
        claude(gateway, key).messages.create(**asked)
    body: Any = getattr(caught.value, "body", None)
    assert body["type"] == "error"
    assert body["error"]["type"] == kind
    assert body["error"]["message"]


@pytest.mark.feature("A16")
def test_what_would_have_to_be_kept_is_refused(gateway: Gateway) -> None:
    with pytest.raises(openai.BadRequestError, match="nothing is kept") as caught:
        gateway.client().responses.create(model="m", input="x", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"


@pytest.mark.feature("A6")
@pytest.mark.parametrize("how", ["b64_json", "url"])
def test_images(gateway: Gateway, how: Any) -> None:
    client = gateway.client()
    answer = client.images.generate(model="m", prompt="x", size="256x256", response_format=how)
    assert answer.data
    assert getattr(answer.data[0], how)


@pytest.mark.feature("A5")
def test_speech_is_passed_on_as_it_comes(gateway: Gateway, quick_stand_in: StandIn) -> None:
    client = gateway.client()
    whole = client.audio.speech.create(
        model="m", voice="alloy", input="Say it now.", response_format="wav"
    ).read()
    with wave.open(io.BytesIO(whole)) as file:
        assert file.getnframes() > 0
    quick_stand_in.fail(fault="stall", after_bytes=5000)
    body = {"model": "m", "voice": "a", "input": "word " * 20, "response_format": "pcm"}
    url = f"{gateway.url}/v1/audio/speech"
    with httpx.stream("POST", url, json=body, headers=HEADERS, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("audio/")
        assert 0 < len(next(answer.iter_raw())) <= 5000
    asyncio.run(until(lambda: gateway.metric("ganglion_gateway_in_flight") == 0))  # it is counted


@pytest.mark.feature("A12", "A16", "A17")
@pytest.mark.parametrize("path", TYPED)
@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "cut", "after_bytes": 2500},
        {"fault": "garbage", "after_bytes": 2500},
        {"fault": "error_then_done", "after_tokens": 3},
    ],
    ids=lambda fault: fault["fault"],
)
def test_a_typed_stream_that_fails_never_looks_whole(
    failing: Gateway, quick_stand_in: StandIn, path: str, fault: dict[str, Any]
) -> None:
    quick_stand_in.fail(**fault)
    sent = request(path, "m", stream=True)
    answer = httpx.post(f"{failing.url}{path}", headers=HEADERS, timeout=30, **sent)
    assert answer.status_code == 200, answer.text
    for end in (DONE_FRAME, b"message_stop", b"response.completed"):
        assert end not in answer.content
    last = json.loads(answer.text.rstrip().rpartition("data: ")[2])
    assert last["type"] == "error"
    assert last["error"]["message"]
    assert failing.segments()[-1].end is SegmentEnd.FAILED


@pytest.mark.feature("A12", "A16", "A17")
def test_the_official_clients_raise_on_it(failing: Gateway, quick_stand_in: StandIn) -> None:
    quick_stand_in.fail(fault="error_then_done", after_tokens=3)
    with pytest.raises(openai.APIError):
        list(failing.client().responses.create(model="m", input="hi", stream=True))
    quick_stand_in.fail(fault="error_then_done", after_tokens=3)
    with pytest.raises(anthropic.APIError):
        list(claude(failing).messages.create(model="m", max_tokens=30, stream=True, **ASKED))
