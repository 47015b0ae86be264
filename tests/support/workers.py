"""``worker``: each contract test runs against the stand-in and against real vLLM.

``embedding_worker`` is the same for embeddings and ``hearing_worker`` for transcriptions. vLLM
serves them from servers of their own, and to start one takes 25 s of CPU: that is left to the long
tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from openai import OpenAI

from tests.support.standin import start_stand_in

CONTEXT = 4096  # a chat model with room for an answer that is left in the middle
REAL_VLLM = pytest.param("vllm_server", marks=(pytest.mark.real("vllm"), pytest.mark.slow))
_LONG = (*REAL_VLLM.marks, pytest.mark.long)
REAL_EMBEDDING = pytest.param("vllm_embedding_server", marks=_LONG)
REAL_HEARING = pytest.param("vllm_speech_server", marks=_LONG)


@dataclass(frozen=True)
class Worker:
    """A worker under test and the official client that talks to it."""

    url: str
    model: str
    client: OpenAI

    def gauge(self, name: str) -> float:
        """The sum of one metric's samples."""
        page = httpx.get(f"{self.url}/metrics", timeout=10).text
        lines = [line for line in page.splitlines() if line.startswith(f"vllm:{name}{{")]
        assert lines, f"no metric vllm:{name}"
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@pytest.fixture(scope="session")
def contract_stand_in() -> Iterator[Worker]:
    """A stand-in at the pace of the tiny model."""
    server = start_stand_in(
        "--max-model-len", str(CONTEXT), "--tokens-per-second", "400", model="tiny-random"
    )
    yield _worker(server.url, server.model)
    server.process.kill()
    server.process.wait()
    if server.process.stdout is not None:
        server.process.stdout.close()


@pytest.fixture(params=["contract_stand_in", REAL_VLLM])
def worker(request: pytest.FixtureRequest) -> Worker:
    return _chosen(request)


@pytest.fixture(params=["contract_stand_in", REAL_EMBEDDING])
def embedding_worker(request: pytest.FixtureRequest) -> Worker:
    return _chosen(request)


@pytest.fixture(params=["contract_stand_in", REAL_HEARING])
def hearing_worker(request: pytest.FixtureRequest) -> Worker:
    return _chosen(request)


def _chosen(request: pytest.FixtureRequest) -> Worker:
    server = request.getfixturevalue(request.param)
    return server if isinstance(server, Worker) else _worker(server.url, server.model)


def _worker(url: str, model: str) -> Worker:
    client = OpenAI(base_url=f"{url}/v1", api_key="none", timeout=60, max_retries=0)
    return Worker(url, model, client)
