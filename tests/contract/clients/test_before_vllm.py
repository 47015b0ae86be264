"""The same walks in front of real vLLM, on each route that it serves: one server for text, one for
embeddings and scores, one that hears; and one that dies while every client listens to it."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.contract.clients import plan
from tests.contract.clients.house import House, Served, house
from tests.contract.clients.plan import (
    CHAT,
    COMPLETIONS,
    CUT,
    DOWN,
    GOOD,
    MESSAGES_ROUTE,
    MODELS,
    POOLED,
    RESPONSES,
    SOUNDS,
    TEXT,
    Plan,
    Step,
)
from tests.contract.clients.walks import ROUTES, Table, agents_did, checked, table_of, took
from tests.support.vllm import VllmServer
from tests.support.wait import until

# What each client listens to when the engine dies: every kind of stream of text.
LISTENS = {
    "openai": COMPLETIONS,
    "node": CHAT,
    "langchain": RESPONSES,
    "agents": RESPONSES,
    "anthropic": MESSAGES_ROUTE,
}
TOKENS = 60_000  # two minutes of work: all listen by then
START_SECONDS_MAX = 150
pytestmark = pytest.mark.long


def walked_before(client: str, text: VllmServer, pooled: VllmServer, folder: Path) -> Table:
    """Every route of this client that such servers have."""
    workers = (
        Served(text.url, text.model, (*TEXT, MODELS)),
        Served(pooled.url, pooled.model, POOLED),
    )
    with house(folder, (client,), *workers) as made:
        table = table_of(client, made)
    served = {route for route in ROUTES[client] if route in plan.REAL and route not in SOUNDS}
    assert set(table) == served
    return table


@pytest.mark.feature("A1", "A2", "A3", "A7", "A9", "A16", "A17", "A18")
@pytest.mark.parametrize("client", ["openai", "anthropic"])
def test_python_before_real_vllm(
    vllm_server: VllmServer, vllm_embedding_server: VllmServer, tmp_path: Path, client: str
) -> None:
    assert walked_before(client, vllm_server, vllm_embedding_server, tmp_path)


@pytest.mark.usefixtures("node_walk")
@pytest.mark.feature("A1", "A2", "A3", "A7", "A9", "A16", "A18")
def test_node_before_real_vllm(
    vllm_server: VllmServer, vllm_embedding_server: VllmServer, tmp_path: Path
) -> None:
    assert walked_before("node", vllm_server, vllm_embedding_server, tmp_path)


@pytest.mark.usefixtures("langchain_client")
@pytest.mark.feature("A1", "A2", "A3", "A9", "A16")
def test_langchain_before_real_vllm(
    vllm_server: VllmServer, vllm_embedding_server: VllmServer, tmp_path: Path
) -> None:
    table = walked_before("langchain", vllm_server, vllm_embedding_server, tmp_path)
    told = table[CHAT]["further"]["told"]
    assert told["tokens"] > 0
    assert told["stream"]["parts"] > 1
    assert told["stream"]["tokens"] > 0
    assert (told["call"], told["batch"]) == (["pick_unit"], 3)


@pytest.mark.usefixtures("agents_client")
@pytest.mark.feature("A1", "A9", "A16")
def test_agents_before_real_vllm(
    vllm_server: VllmServer, vllm_embedding_server: VllmServer, tmp_path: Path
) -> None:
    table = walked_before("agents", vllm_server, vllm_embedding_server, tmp_path)
    assert agents_did(table)


@pytest.mark.usefixtures("node_walk")
@pytest.mark.feature("A4", "A9")
@pytest.mark.parametrize("client", ["openai", "node"])
def test_sounds_before_real_vllm(
    vllm_speech_server: VllmServer, tmp_path: Path, client: str
) -> None:
    worker = Served(vllm_speech_server.url, vllm_speech_server.model, SOUNDS)
    with house(tmp_path, (client,), worker) as made:
        assert set(table_of(client, made)) == set(SOUNDS)


@pytest.mark.usefixtures("node_walk", "langchain_client", "agents_client")
@pytest.mark.feature("A9", "A12")
async def test_its_engine_dies_while_all_listen(mortal_vllm: VllmServer, tmp_path: Path) -> None:
    """Each sees its own class of error where it listens, and one of a worker that is down when it
    asks again."""
    worker = Served(mortal_vllm.url, mortal_vllm.model, TEXT)
    with (
        house(tmp_path / "house", (), worker) as made,
        ThreadPoolExecutor(len(LISTENS)) as pool,
    ):
        plans = {client: listening(client, made) for client in LISTENS}
        walks = {client: pool.submit(took, client, one) for client, one in plans.items()}
        try:
            await until(lambda: all_listen(made, walks), START_SECONDS_MAX)
        finally:
            mortal_vllm.kill_engine()
        for client, walk in walks.items():
            checked(client, plans[client], walk.result(60))


def listening(client: str, made: House) -> Plan:
    """A stream that would last, and the same again when it has broken off."""
    route = LISTENS[client]
    limit = "max_output_tokens" if route == RESPONSES else "max_tokens"
    body = {"model": made.workers[0].name, **plan.BODIES[route], limit: TOKENS}
    steps = [Step(route, CUT, GOOD, body, stream=True), Step(route, DOWN, GOOD, body)]
    return made.plan_of(steps, further=False)


def all_listen(made: House, walks: dict[str, Future[Table]]) -> bool:
    over = {client: walk.result() for client, walk in walks.items() if walk.done()}
    if over:
        pytest.fail(f"over before the engine died: {over}")
    page = httpx.get(f"{made.workers[0].url}/metrics", timeout=10).text
    running = [line for line in page.splitlines() if line.startswith("vllm:num_requests_running{")]
    return float(running[0].rsplit(" ", 1)[1]) == len(walks)
