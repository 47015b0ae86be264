"""Files and rankings over links: a node that nobody can reach serves them in little memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from tests.support.agent_brain import AgentBrain
from tests.support.agent_process import AgentProcess
from tests.support.gateway import KEY, Gateway, StartGateway
from tests.support.links import link_address, linked, linked_lease, tables_of
from tests.support.wait import until
from tests.support.workers_routes import request, sound

MIB = 1 << 20
WORKER = [
    *("{python}", "-m", "standins.worker", "--port", "{port}", "--model", "demo"),
    *("--tokens-per-second", "0", "--first-token-ms", "0", "--remember", "1"),
    *("--upload-bytes-max", str(1 << 30)),
]
HEADERS = {"authorization": f"Bearer {KEY}"}
PATHS = ("/v1/rerank", "/v2/rerank", "/v1/score", "/v1/embeddings", "/v1/audio/translations")


async def linked_worker(
    brain: AgentBrain, agent: AgentProcess, start: StartGateway
) -> tuple[Gateway, int]:
    """A gateway that reaches a worker over an agent's links alone, and the worker's port."""
    agent.start()
    lease = linked_lease(await brain.gpu_uuids(1), process=WORKER)
    gateway = start(tables_of(linked(lease)), gateway_link_port=0)
    brain.gateways = [link_address(gateway)]
    brain.want(lease)
    await until(lambda: gateway.metric("ganglion_gateway_links_idle") >= 4, 60)
    return gateway, worker_port(agent)


def worker_port(agent: AgentProcess) -> int:
    """Where its one worker listens on loopback."""
    assert agent.process is not None
    family = psutil.Process(agent.process.pid).children(recursive=True)
    found = [port for one in family for port in ports_of(one)]
    return int(found[0])


def ports_of(process: psutil.Process) -> list[int]:
    return [
        one.laddr.port
        for one in process.net_connections("inet")
        if one.status == psutil.CONN_LISTEN
    ]


def form(size: int) -> Iterator[bytes]:
    """A file before the name of its model, in pieces."""
    yield b'--XXb\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n'
    yield b'--XXb\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    yield sound()[:44]
    for _ in range(size // MIB):
        yield bytes(MIB)
    yield b"\r\n--XXb--\r\n"


def peak_mib(pid: int) -> float:
    with open(f"/proc/{pid}/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


@pytest.mark.feature("A4", "A18", "C2")
async def test_files_of_any_size_and_rankings_pass(
    brain: AgentBrain, agent: AgentProcess, start_gateway: StartGateway
) -> None:
    gateway, port = await linked_worker(brain, agent, start_gateway)
    async with httpx.AsyncClient(base_url=gateway.url, headers=HEADERS, timeout=60) as client:
        for path in PATHS:
            told = await client.post(path, **request(path, "m"))
            assert told.status_code == 200, (path, told.text)
        assert agent.process is not None
        pids = gateway.process.pid, agent.process.pid
        before = [peak_mib(pid) for pid in pids]
        told = await asyncio.to_thread(_send, gateway, 100 * MIB)
        assert told.status_code == 200, told.text
        after = [peak_mib(pid) for pid in pids]
        state: Any = (await client.get(f"http://127.0.0.1:{port}/stand-in/state")).json()
    whole = hashlib.sha256(sound()[:44] + bytes(100 * MIB)).hexdigest()
    assert state["remembered"][-1]["body"]["file"]["sha256"] == whole
    assert after[0] - before[0] < 6
    assert after[1] - before[1] < 6


def _send(gateway: Gateway, size: int) -> httpx.Response:
    url = f"{gateway.url}/v1/audio/transcriptions"
    return httpx.post(url, content=form(size), headers=HEADERS, timeout=120)
