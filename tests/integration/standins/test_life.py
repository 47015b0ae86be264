"""The stand-in worker as a process: hang-ups, signals, queues, keys, HTTP it did not expect."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.support.shared import ROOT
from tests.support.standin import StandIn, StartStandIn
from tests.support.wait import until

SECONDS_MAX = 60  # on a machine that is busy with other tests
LONG: dict[str, Any] = {"max_tokens": 2000, "ignore_eos": True}
PATHS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}], **LONG},
    "/v1/completions": {"prompt": "x", **LONG},
}


def link(worker: StandIn) -> socket.socket:
    host, port = worker.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=SECONDS_MAX)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", sorted(PATHS))
async def test_a_hang_up_is_seen_and_counted(
    stand_in_worker: StartStandIn, path: str, stream: bool
) -> None:
    worker = stand_in_worker("--tokens-per-second", "50")
    body = {"model": worker.model, "stream": stream, **PATHS[path]}
    async with httpx.AsyncClient(base_url=worker.url, timeout=SECONDS_MAX) as client:
        call = asyncio.ensure_future(client.post(path, json=body))
        await until(lambda: worker.state()["generation_tokens"] > 3)
        call.cancel()
        hung_up_ns = time.monotonic_ns()
    await until(lambda: worker.state()["requests_aborted"] == 1)
    (abort,) = worker.state()["aborts"]
    assert abort["path"] == path
    assert abort["after_tokens"] > 3
    assert hung_up_ns <= abort["at_monotonic_ns"] <= time.monotonic_ns()


async def test_the_async_client_streams(quick_stand_in: StandIn) -> None:
    client = openai.AsyncOpenAI(base_url=f"{quick_stand_in.url}/v1", api_key="x")
    stream = await client.chat.completions.create(
        model=quick_stand_in.model, messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    words = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert "Ganglion stand-in worker" in "".join(words)


def test_what_it_lists_says_what_it_is(quick_stand_in: StandIn) -> None:
    client = openai.OpenAI(base_url=f"{quick_stand_in.url}/v1", api_key="x")
    (model,) = client.models.list().data
    assert model.owned_by == "ganglion-stand-in"


def test_a_running_stream_gets_an_error_and_done_on_sigterm(stand_in_worker: StartStandIn) -> None:
    worker = stand_in_worker("--tokens-per-second", "20")
    body = {"model": worker.model, "prompt": "x", "stream": True, **LONG}
    url = f"{worker.url}/v1/completions"
    with httpx.stream("POST", url, json=body, timeout=SECONDS_MAX) as answer:
        lines = answer.iter_lines()
        next(lines)
        worker.process.terminate()
        events = [line for line in lines if line]
    assert json.loads(events[-2][6:])["error"]["code"] == 500
    assert events[-1] == "data: [DONE]"
    assert worker.process.wait(SECONDS_MAX) == 0


async def test_with_a_timeout_a_running_stream_ends_well(stand_in_worker: StartStandIn) -> None:
    worker = stand_in_worker("--tokens-per-second", "50", "--shutdown-timeout", "30")
    body = {"model": worker.model, "prompt": "x", "max_tokens": 400, "ignore_eos": True}
    async with httpx.AsyncClient(base_url=worker.url, timeout=SECONDS_MAX) as client:
        call = asyncio.ensure_future(client.post("/v1/completions", json=body))
        await until(lambda: worker.state()["generation_tokens"] > 2)
        worker.process.terminate()
        await until(lambda: worker.state()["draining"])
        assert (await client.get("/health")).status_code == 200
        assert (await client.post("/v1/completions", json=body)).status_code == 500
        assert (await call).json()["usage"]["completion_tokens"] == 400
    assert worker.process.wait(SECONDS_MAX) == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_it_may_say_abort_on_sigterm(stand_in_worker: StartStandIn, stream: bool) -> None:
    worker = stand_in_worker("--tokens-per-second", "50", "--on-stop", "abort")
    body = {"model": worker.model, "prompt": "x", "stream": stream, **LONG}
    async with httpx.AsyncClient(base_url=worker.url, timeout=SECONDS_MAX) as client:
        call = asyncio.ensure_future(client.post("/v1/completions", json=body))
        await until(lambda: worker.state()["generation_tokens"] > 2)
        worker.process.terminate()
        answer = await call
    assert answer.status_code == 200
    assert answer.text.count('"finish_reason":"abort"') == 1
    assert worker.process.wait(SECONDS_MAX) == 0


async def test_a_waiting_stream_gets_its_error_on_sigterm(stand_in_worker: StartStandIn) -> None:
    worker = stand_in_worker("--tokens-per-second", "20", "--max-num-seqs", "1")
    body = {"model": worker.model, "prompt": "x", "stream": True, **LONG}
    async with httpx.AsyncClient(base_url=worker.url, timeout=SECONDS_MAX) as client:
        calls = [asyncio.ensure_future(client.post("/v1/completions", json=body)) for _ in "ab"]
        await until(lambda: worker.state()["waiting"] == 1)
        worker.process.terminate()
        answers = await asyncio.gather(*calls)
    assert all(answer.text.endswith("data: [DONE]\n\n") for answer in answers)
    assert all('"code":500' in answer.text for answer in answers)


async def test_it_may_hang_on_sigterm_until_its_clients_leave(
    stand_in_worker: StartStandIn,
) -> None:
    worker = stand_in_worker("--tokens-per-second", "50", "--on-stop", "hang")
    body = {"model": worker.model, "prompt": "x", "stream": True, **LONG}
    url = f"{worker.url}/v1/completions"
    with httpx.stream("POST", url, json=body, timeout=SECONDS_MAX) as answer:
        pieces = answer.iter_raw()
        assert next(pieces)
        worker.process.terminate()
        await until(lambda: worker.state()["draining"])
        assert worker.process.poll() is None
    assert worker.process.wait(SECONDS_MAX) == 0


async def test_one_runs_one_waits_and_the_third_is_refused(stand_in_worker: StartStandIn) -> None:
    one = ("--max-num-seqs", "1", "--max-num-queued-reqs", "1")
    worker = stand_in_worker("--tokens-per-second", "50", *one)
    body = {"model": worker.model, "prompt": "x", **LONG}
    async with httpx.AsyncClient(base_url=worker.url, timeout=SECONDS_MAX) as client:
        calls = [asyncio.ensure_future(client.post("/v1/completions", json=body)) for _ in "ab"]
        await until(lambda: (worker.state()["running"], worker.state()["waiting"]) == (1, 1))
        refused = await client.post("/v1/completions", json=body)
        for call in calls:
            call.cancel()
    assert refused.status_code == 503
    await until(lambda: worker.state()["requests_aborted"] == 2)


def test_a_key_guards_the_api_only(stand_in_worker: StartStandIn) -> None:
    worker = stand_in_worker("--api-key", "secret")
    statuses = {
        path: httpx.get(f"{worker.url}{path}", timeout=SECONDS_MAX).status_code
        for path in ("/v1/models", "/health", "/metrics", "/load", "/version")
    }
    assert statuses.pop("/v1/models") == 401
    assert set(statuses.values()) == {200}
    client = openai.OpenAI(base_url=f"{worker.url}/v1", api_key="secret")
    assert client.models.list().data


def test_it_remembers_requests_only_when_told(stand_in_worker: StartStandIn) -> None:
    worker = stand_in_worker("--remember", "1")
    for prompt in ("one", "two"):
        body = {"model": worker.model, "prompt": prompt, "cache_salt": "s"}
        httpx.post(f"{worker.url}/v1/completions", json=body, timeout=SECONDS_MAX)
    (kept,) = worker.state()["remembered"]
    assert (kept["body"]["prompt"], kept["body"]["cache_salt"]) == ("two", "s")


def test_two_requests_sent_at_once_are_answered_in_order(quick_stand_in: StandIn) -> None:
    with link(quick_stand_in) as wire:
        request = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
        wire.sendall(request + request.replace(b"version", b"load"))
        received = b""
        while b"server_load" not in received:
            received += wire.recv(4096)
    assert received.index(b"0.32.0") < received.index(b"server_load")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{", b"400"),
        (b"GET /v1/completions HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
    ],
)
def test_odd_http_is_refused(quick_stand_in: StandIn, sent: bytes, status: bytes) -> None:
    with link(quick_stand_in) as wire:
        wire.sendall(sent)
        wire.shutdown(socket.SHUT_WR)
        assert wire.recv(4096).partition(b" ")[2][:3] == status


def test_a_body_over_the_limit_is_413(stand_in_worker: StartStandIn) -> None:
    worker = stand_in_worker("--body-bytes-max", "1000")
    url = f"{worker.url}/v1/completions"
    answer = httpx.post(url, content=b"x" * 2000, timeout=SECONDS_MAX)
    assert answer.status_code == 413


def test_a_busy_port_is_said_in_one_line(quick_stand_in: StandIn) -> None:
    port = quick_stand_in.url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "standins.worker", "--port", port, "--model", "m"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )
    assert done.returncode == 1
    assert "cannot listen" in json.loads(done.stdout)["reason"]


def test_a_wrong_fault_is_said_at_the_start() -> None:
    command = [sys.executable, "-m", "standins.worker", "--port", "0", "--model", "m"]
    command += ["--faults", '{"fault": "explode"}']
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )
    assert done.returncode == 2
    assert "explode" in done.stderr


async def test_nothing_listens_while_it_loads(stand_in_worker: StartStandIn) -> None:
    started = time.monotonic()
    worker = stand_in_worker("--load-seconds", "0.4")
    assert time.monotonic() - started >= 0.4
    assert httpx.get(f"{worker.url}/health", timeout=SECONDS_MAX).status_code == 200


async def test_the_journal_has_what_was_begun_even_when_it_is_killed(
    stand_in_worker: StartStandIn, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    worker = stand_in_worker("--journal", str(journal), "--first-token-ms", "60000")
    body = {"model": worker.model, **PATHS["/v1/completions"]}
    headers = {"x-request-id": "req_begun"}
    async with httpx.AsyncClient(
        base_url=worker.url, headers=headers, timeout=SECONDS_MAX
    ) as client:
        call = asyncio.ensure_future(client.post("/v1/completions", json=body))
        await until(lambda: journal.read_text() == "req_begun\n")
        worker.process.kill()
        with pytest.raises(httpx.TransportError):
            await call
