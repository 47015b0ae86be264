"""What Prometheus reads of a gateway: a real process, scraped."""

from __future__ import annotations

import json
import re

import httpx
import pytest

from tests.support.gateway import KEY, Gateway, StartGateway, snapshot
from tests.support.raw_http import connect, request
from tests.support.scripted_worker import CUT, Script, answer, chunk, scripted_worker, stream_head
from tests.support.wait import until
from tests.unit.inference import sse

PLAIN = b'{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}'
STREAM: Script = [
    stream_head(),
    chunk(sse.HELLO),
    0.2,
    chunk(sse.HELLO),
    chunk(sse.STOP + sse.DONE),
    chunk(b""),
]


async def scraped(gateway: Gateway) -> dict[str, float]:
    """Every sample, by its name with its labels."""
    async with httpx.AsyncClient() as client:
        page = (await client.get(f"{gateway.url}/metrics")).text
    lines = [line.rpartition(" ") for line in page.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


async def ask(gateway: Gateway, **body: object) -> int:
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(timeout=20) as client:
        path = f"{gateway.url}/v1/chat/completions"
        content = json.dumps({"model": "m", **body}).encode()
        return (await client.post(path, content=content, headers=headers)).status_code


@pytest.mark.feature("O2")
async def test_latency_first_content_and_gaps_by_route(start_gateway: StartGateway) -> None:
    async with scripted_worker(STREAM) as worker:
        gateway = start_gateway(snapshot(worker.port))
        assert await ask(gateway, stream=True) == 200
        found = await scraped(gateway)
    for name in ("request", "first_content", "token_gap"):
        assert found[f'ganglion_gateway_{name}_seconds_count{{route="chat"}}'] == 1
    assert found['ganglion_gateway_token_gap_seconds_sum{route="chat"}'] >= 0.05
    assert found['ganglion_gateway_requests_total{route="chat",status="200"}'] == 1


@pytest.mark.feature("O2")
async def test_a_breaker_that_opened_is_told_by_its_replica(start_gateway: StartGateway) -> None:
    async with scripted_worker([CUT]) as worker:
        gateway = start_gateway(snapshot(worker.port, worker.port))
        while (await scraped(gateway))['ganglion_gateway_breakers{state="open"}'] < 2:
            assert await ask(gateway) in (502, 503)
        found = await scraped(gateway)
    assert found['ganglion_gateway_breakers{state="closed"}'] == 0
    away = [name for name in found if name.startswith("ganglion_gateway_breaker_away")]
    assert len(away) == 2
    assert found["ganglion_gateway_failover_total"] >= 1


@pytest.mark.feature("O2")
async def test_the_process_itself(start_gateway: StartGateway) -> None:
    gateway = start_gateway(snapshot(1))
    found = await scraped(gateway)
    assert 10e6 < found["process_resident_memory_bytes"] < 200e6
    assert found["process_cpu_seconds_total"] > 0
    assert found["process_open_fds"] > 5


async def test_the_spool_is_told_while_the_brain_does_not_take_it(
    start_gateway: StartGateway,
) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        before = (await scraped(gateway))["ganglion_gateway_spool_bytes"]
        assert await ask(gateway) == 200
        await until(lambda: bool(gateway.segments()))
        after = (await scraped(gateway))["ganglion_gateway_spool_bytes"]
    assert after > before


async def test_each_line_is_one_that_prometheus_reads(start_gateway: StartGateway) -> None:
    gateway = start_gateway(snapshot(1))
    async with httpx.AsyncClient() as client:
        lines = (await client.get(f"{gateway.url}/metrics")).text.splitlines()
    sample = re.compile(r'[a-z_:][a-z0-9_:]*(\{([a-z]+="[^"\n]*",?)*\})? [0-9.e+-]+')
    kind = re.compile(r"# TYPE [a-z_]+ (counter|gauge|histogram)")
    assert [one for one in lines if not (sample.fullmatch(one) or kind.fullmatch(one))] == []


@pytest.mark.feature("O2")
async def test_what_is_refused_before_it_came_whole_is_counted_too(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway(snapshot(1), gateway_body_seconds_max=0.3)
    asked = {
        b"nonsense\r\n\r\n": ("unknown", 400),
        request(b"{", key=KEY).replace(b"length: 1", b"length: 99000000"): ("chat", 413),
        request(b"{", key=KEY).replace(b"length: 1", b"length: 5"): ("chat", 408),
        request(b"", "x: " + "a" * 70_000, key=KEY): ("unknown", 431),
    }
    for content, (_, status) in asked.items():
        async with connect(gateway.port) as raw:
            await raw.send(content)
            assert (await raw.answer()).status == status
    found = await scraped(gateway)
    for route, status in asked.values():
        name = f'ganglion_gateway_requests_total{{route="{route}",status="{status}"}}'
        assert found[name] == 1, name
