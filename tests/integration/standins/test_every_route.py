"""Every route of the stand-in worker meets every fault, and sees its client leave."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from standins.worker.faults import WORK_PATHS
from standins.worker.routes import ROUTES
from tests.support.standin import StandIn, StartStandIn, start_stand_in
from tests.support.wait import until
from tests.support.workers_routes import PATHS, STREAMS, request

NO_WORK = ("/v1/messages/count_tokens", "/stand-in/faults")
# One for all: a client made anew reads the machine's certificates each time. It lets go of idle
# connections well before the worker does, after five seconds.
CLIENT = httpx.Client(timeout=60, limits=httpx.Limits(keepalive_expiry=1))


def state(worker: StandIn) -> dict[str, Any]:
    shown: dict[str, Any] = CLIENT.get(f"{worker.url}/stand-in/state").json()
    return shown


def fail(worker: StandIn, **fault: object) -> None:
    CLIENT.post(f"{worker.url}/stand-in/faults", json=fault).raise_for_status()


def test_each_route_that_works_meets_faults_and_is_tested_here() -> None:
    posts = {path for method, path in ROUTES if method == "POST"} - set(NO_WORK)
    assert posts == set(PATHS) == set(WORK_PATHS) - {"/v1/realtime"}


def raw(worker: StandIn, path: str, *, stream: bool = False) -> tuple[bytes, Exception | None]:
    """All bytes of the answer that came, and the error that ended it."""
    received = b""
    asked = request(path, worker.model, stream=stream)
    try:
        with CLIENT.stream("POST", f"{worker.url}{path}", **asked) as answer:
            for piece in answer.iter_raw():
                received += piece
    except httpx.TransportError as error:
        return received, error
    return received, None


@pytest.mark.parametrize("path", PATHS)
def test_a_status_and_a_late_answer(quick_stand_in: StandIn, path: str) -> None:
    url, asked = f"{quick_stand_in.url}{path}", request(path, quick_stand_in.model)
    fail(quick_stand_in, fault="status", status=429, retry_after="7", path=path)
    refused = CLIENT.post(url, **asked)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    fail(quick_stand_in, fault="late", seconds=0.1)
    started = time.monotonic()
    assert CLIENT.post(url, **asked).status_code == 200
    assert time.monotonic() - started >= 0.1


@pytest.mark.parametrize("path", PATHS)
def test_cuts_stalls_and_garbage(quick_stand_in: StandIn, path: str) -> None:
    whole, _ = raw(quick_stand_in, path)
    for after in (0, 20):
        fail(quick_stand_in, fault="cut", after_bytes=after)
        received, error = raw(quick_stand_in, path)
        assert (len(received), type(error)) == (after, httpx.RemoteProtocolError)
    fail(quick_stand_in, fault="stall", after_bytes=20, seconds=0.1)
    started = time.monotonic()
    received, error = raw(quick_stand_in, path)
    assert time.monotonic() - started >= 0.1
    assert (len(received), error) == (len(whole), None)
    fail(quick_stand_in, fault="garbage", after_bytes=20)
    received, error = raw(quick_stand_in, path)
    assert error is None
    assert b"<garbage>" in received[20:]


def counted(worker: StandIn, name: str) -> float:
    page = CLIENT.get(f"{worker.url}/metrics").text
    lines = [line for line in page.splitlines() if line.startswith(f"vllm:{name}")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@pytest.mark.parametrize("path", PATHS)
def test_each_answer_is_counted_as_chats_are(quick_stand_in: StandIn, path: str) -> None:
    names = ("request_success_total", "e2e_request_latency_seconds_count")
    before = [counted(quick_stand_in, name) for name in names]
    prompts = counted(quick_stand_in, "prompt_tokens_total")
    raw(quick_stand_in, path)
    assert [counted(quick_stand_in, name) for name in names] == [one + 1 for one in before]
    assert counted(quick_stand_in, "prompt_tokens_total") > prompts


@pytest.fixture(scope="module")
def endless() -> Iterator[StandIn]:
    """A worker that never comes to its first token."""
    worker = start_stand_in("--first-token-ms", "3600000")
    yield worker
    worker.process.kill()
    worker.process.wait()
    if worker.process.stdout is not None:
        worker.process.stdout.close()


async def abort_of_one_who_left(
    worker: StandIn, path: str, *, stream: bool
) -> tuple[str, bool, int]:
    """Ask, leave when the work runs: the path of the abort in the worker's book, whether its
    time is right, and how much still runs."""
    before = state(worker)["requests_aborted"]
    async with httpx.AsyncClient(base_url=worker.url, timeout=60, verify=False) as client:
        asked = request(path, worker.model, stream=stream)
        call = asyncio.ensure_future(client.post(path, **asked))
        await until(lambda: state(worker)["running"] == 1)
        call.cancel()
        left_ns = time.monotonic_ns()
    await until(lambda: state(worker)["requests_aborted"] == before + 1)
    last = state(worker)["aborts"][-1]
    is_timed = left_ns <= last["at_monotonic_ns"] <= time.monotonic_ns()
    return last["path"], is_timed, state(worker)["running"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_client_that_leaves_before_the_first_byte(endless: StandIn, path: str) -> None:
    assert await abort_of_one_who_left(endless, path, stream=False) == (path, True, 0)


@pytest.mark.parametrize("path", STREAMS)
async def test_a_client_that_leaves_a_stream(quick_stand_in: StandIn, path: str) -> None:
    fail(quick_stand_in, fault="stall", after_bytes=400)
    assert await abort_of_one_who_left(quick_stand_in, path, stream=True) == (path, True, 0)


def events(content: bytes) -> list[Any]:
    """Each event's JSON; [DONE] as it is."""
    blocks = content.decode().strip().split("\n\n")
    found = [block[block.index("data: ") + 6 :] for block in blocks]
    return [one if one == "[DONE]" else json.loads(one) for one in found]


TYPED = {
    "/v1/responses": ("response.output_text.delta", "response.completed", "error"),
    "/v1/messages": ("content_block_delta", "message_delta", "error"),
}


@pytest.mark.parametrize("path", TYPED)
def test_a_typed_stream_ends_in_an_error(quick_stand_in: StandIn, path: str) -> None:
    delta, finish, last = TYPED[path]
    fail(quick_stand_in, fault="error_then_done", after_tokens=3)
    content, error = raw(quick_stand_in, path, stream=True)
    kinds = [event["type"] for event in events(content)]
    assert error is None
    assert (kinds.count(delta), kinds[-1]) == (3, last)
    assert finish not in kinds


@pytest.mark.parametrize("path", TYPED)
@pytest.mark.parametrize("after", [0, 4])
def test_an_aborted_typed_stream_looks_whole(
    quick_stand_in: StandIn, path: str, after: int
) -> None:
    delta, finish, _ = TYPED[path]
    fail(quick_stand_in, fault="abort", after_tokens=after)
    content, _ = raw(quick_stand_in, path, stream=True)
    told = events(content)
    kinds = [event["type"] for event in told]
    assert kinds.count(delta) == after
    (end,) = [event for event in told if event["type"] == finish]
    if path == "/v1/responses":
        assert end["response"]["status"] == "completed"
        assert [event["sequence_number"] for event in told] == list(range(len(told)))
    else:
        assert end["delta"]["stop_reason"] is None


@pytest.mark.parametrize("path", TYPED)
def test_a_typed_stream_may_lack_its_finish_or_its_end(quick_stand_in: StandIn, path: str) -> None:
    finish = TYPED[path][1]
    whole = events(raw(quick_stand_in, path, stream=True)[0])
    fail(quick_stand_in, fault="no_finish")
    unfinished = events(raw(quick_stand_in, path, stream=True)[0])
    assert len(unfinished) == len(whole) - 1
    assert finish not in [event["type"] for event in unfinished]
    fail(quick_stand_in, fault="no_done")
    assert len(events(raw(quick_stand_in, path, stream=True)[0])) == len(whole) - 1


def test_a_transcription_streams_in_chunks_and_meets_an_error(quick_stand_in: StandIn) -> None:
    path = "/v1/audio/transcriptions"
    plain = json.loads(raw(quick_stand_in, path)[0])["text"]
    told = events(raw(quick_stand_in, path, stream=True)[0])
    assert told[-1] == "[DONE]"
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in told[:-1]) == plain
    fail(quick_stand_in, fault="error_then_done", after_tokens=3)
    told = events(raw(quick_stand_in, path, stream=True)[0])
    assert (len(told), told[-2]["error"]["code"], told[-1]) == (5, 500, "[DONE]")


def test_speech_is_cut_where_it_fails_and_short_where_it_is_given_up(
    quick_stand_in: StandIn,
) -> None:
    path = "/v1/audio/speech"
    whole, _ = raw(quick_stand_in, path)
    fail(quick_stand_in, fault="error_then_done", after_tokens=2)
    part, error = raw(quick_stand_in, path)
    assert isinstance(error, httpx.RemoteProtocolError)
    assert whole.startswith(part)
    fail(quick_stand_in, fault="abort", after_tokens=2)
    assert raw(quick_stand_in, path) == (part, None)


@pytest.mark.parametrize("stop", ["error", "abort"])
async def test_what_an_open_response_gets_on_sigterm(
    stand_in_worker: StartStandIn, stop: str
) -> None:
    worker = stand_in_worker("--tokens-per-second", "4", "--on-stop", stop)
    call = asyncio.create_task(asyncio.to_thread(raw, worker, "/v1/responses", stream=True))
    await until(lambda: state(worker)["generation_tokens"] > 2)
    worker.process.terminate()
    content, error = await call
    assert (error is None) == (stop == "abort")
    assert (b"response.completed" in content) == (stop == "abort")


def test_responses_are_kept_when_told(stand_in_worker: StartStandIn) -> None:
    worker = stand_in_worker("--store-responses")
    url = f"{worker.url}/v1/responses"
    made = CLIENT.post(url, json={"model": worker.model, "input": "x"}).json()
    unkept = CLIENT.post(url, json={"model": worker.model, "input": "x", "store": False}).json()
    assert CLIENT.get(f"{url}/{made['id']}").json() == made
    assert CLIENT.get(f"{url}/{unkept['id']}").status_code == 404
    assert CLIENT.post(f"{url}/{made['id']}/cancel").status_code == 400


def test_the_key_guards_what_vllms_guards(stand_in_worker: StartStandIn) -> None:
    worker = stand_in_worker("--api-key", "secret", "--tokens-per-second", "0")
    statuses = {
        path: CLIENT.post(f"{worker.url}{path}", **request(path, worker.model)).status_code
        for path in PATHS
    }
    open_ones = {path for path, status in statuses.items() if status == 200}
    assert open_ones == {"/pooling", "/classify", "/score", "/rerank"}
    assert set(statuses.values()) == {200, 401}
