"""A trace goes through the gateway: to the worker, to the log, and back to who sent one."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.support.gateway import KEY, Gateway, StartGateway, snapshot
from tests.support.raw_http import connect, request
from tests.support.scripted_worker import Script, answer, chunk, scripted_worker, stream_head
from tests.support.wait import until
from tests.unit.inference import sse

PLAIN = b'{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}'
STREAM: Script = [stream_head(), chunk(sse.HELLO + sse.STOP + sse.DONE), chunk(b"")]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENT = f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01"


def traced(text: bytes) -> list[str]:
    """The trace header of a request that a worker got."""
    lines = text.decode().split("\r\n")
    return [line.partition(": ")[2] for line in lines if line.startswith("traceparent")]


async def ask(gateway: Gateway, *headers: str, stream: bool = False) -> dict[str, str]:
    body = json.dumps({"model": "m", "stream": stream}).encode()
    async with connect(gateway.port) as connection:
        await connection.send(request(body, *headers, key=KEY))
        told = await connection.answer()
    assert told.status == 200
    return told.headers


@pytest.mark.feature("O2")
@pytest.mark.parametrize("stream", [False, True])
async def test_a_trace_goes_on_and_comes_back(start_gateway: StartGateway, stream: bool) -> None:
    async with scripted_worker(STREAM if stream else [answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        told = await ask(gateway, SENT, "tracestate: a=1", stream=stream)
    (onward,) = traced(worker.requests[0])
    assert onward == told["traceparent"]
    assert onward.startswith(f"00-{TRACE}-")
    assert "00f067aa0ba902b7" not in onward
    assert b"\r\ntracestate: a=1\r\n" in worker.requests[0]
    await until(lambda: TRACE in gateway.log.read_text())
    logged = [json.loads(line) for line in gateway.log.read_text().splitlines() if TRACE in line]
    assert [one["request_id"] for one in logged] == [told["x-request-id"]]


async def test_a_request_without_one_makes_none(start_gateway: StartGateway) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        told = await ask(gateway)
    assert (traced(worker.requests[0]), "traceparent" in told) == ([], False)


async def test_a_setting_makes_one_for_each(start_gateway: StartGateway) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port), gateway_trace_always=True)
        told = await ask(gateway)
    (onward,) = traced(worker.requests[0])
    assert onward.split("-")[1] == told["x-request-id"].removeprefix("req_")
    assert "traceparent" not in told


async def test_an_error_bears_the_trace_too(start_gateway: StartGateway) -> None:
    gateway = start_gateway(snapshot(1))
    headers = {"authorization": f"Bearer {KEY}", "traceparent": SENT.partition(": ")[2]}
    async with httpx.AsyncClient() as client:
        told = await client.post(
            f"{gateway.url}/v1/chat/completions", content=b"{}", headers=headers
        )
    assert told.status_code == 400
    assert TRACE in told.headers["traceparent"]


async def test_a_trace_and_a_key_go_together(start_gateway: StartGateway) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        first = await ask(gateway, SENT, "idempotency-key: k")
        again = await ask(gateway, SENT, "idempotency-key: k")
    assert len(worker.requests) == 1
    assert again["x-idempotent-replayed"] == "true"
    assert TRACE in first["traceparent"]
    assert again["traceparent"] != first["traceparent"]
