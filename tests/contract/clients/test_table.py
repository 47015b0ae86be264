"""Every vendor's client, unmodified, on every route and every class of error.

One process a client takes its whole plan; in front of the stand-in, and of real vLLM for the routes
that it serves. The table of docs/gateway.md is read and compared with what is tested here.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.clients import anthropic_walk, openai_walk, plan
from tests.contract.clients.house import House, Served, house
from tests.contract.clients.plan import (
    CHAT,
    COMPLETIONS,
    COUNT,
    CUT,
    EMBEDDINGS,
    FIRST,
    IMAGES,
    MESSAGES_ROUTE,
    MODELS,
    POOLED,
    RERANK,
    RESPONSES,
    SCORE,
    SOUNDS,
    SPEECH,
    STREAM,
    TEXT,
    WHOLE,
    Plan,
)
from tests.support.standin import StandIn
from tests.support.vllm import VllmServer
from tests.support.workers_node import ENVIRONMENT as NODE_ENVIRONMENT
from tools import node_part, vendors_part

HERE = Path(__file__).parent
SECONDS_MAX = 180
pytestmark = pytest.mark.xdist_group("clients")
OPENAIS = (CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, RERANK, SCORE, IMAGES, SPEECH, *SOUNDS, MODELS)
ROUTES = {
    "openai": OPENAIS,
    "node": OPENAIS,
    "langchain": (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS),
    "agents": (CHAT, RESPONSES),
    "anthropic": (MESSAGES_ROUTE, COUNT),
}
COLUMNS = ("openai", "node", "langchain", "agents", "anthropic")  # of the document
# The class that each client has for a status.
CLASSES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    402: "APIStatusError",
    403: "PermissionDeniedError",
    404: "NotFoundError",
    409: "ConflictError",
    413: "APIStatusError",
    422: "UnprocessableEntityError",
    429: "RateLimitError",
    502: "InternalServerError",
    503: "InternalServerError",
    504: "InternalServerError",
}
ANTHROPICS = {
    402: "PaymentRequiredError",
    413: "ContentTooLargeError",
    503: "ServiceUnavailableError",
    504: "GatewayTimeoutError",
}
OTHERS = {"anthropic": ANTHROPICS, "node": {402: "APIError", 413: "APIError"}}
Told = dict[str, Any]
NOTHING: Told = {"raised": [], "said": 0, "status": 0, "code": "", "request_id": ""}
Table = dict[str, dict[str, Told]]


def of_openai(made: Plan) -> list[Told]:
    told = made.told()
    walk = openai_walk.Walk(told, base64.b64decode(told["sound"]))
    return [_row(step, walk.take(step)) for step in told["steps"]]


def of_anthropic(made: Plan) -> list[Told]:
    told = made.told()
    walk = anthropic_walk.Walk(told)
    return [_row(step, walk.take(step)) for step in told["steps"]]


def of_node(made: Plan) -> list[Told]:
    return _in_process([str(node_part.NODE), str(HERE / "table.cjs")], made, NODE_ENVIRONMENT)


def of_langchain(made: Plan) -> list[Told]:
    return _framework("langchain", made)


def of_agents(made: Plan) -> list[Told]:
    return _framework("agents", made)


def _framework(name: str, made: Plan) -> list[Told]:
    python = vendors_part.client(name).python
    return _in_process([str(python), str(HERE / f"{name}_walk.py")], made)


WALKS = {
    "openai": of_openai,
    "node": of_node,
    "langchain": of_langchain,
    "agents": of_agents,
    "anthropic": of_anthropic,
}


def _row(step: Told, found: Told) -> Told:
    return {"route": step["route"], "case": step["case"], **found}


def _in_process(
    command: list[str], made: Plan, environment: dict[str, str] | None = None
) -> list[Told]:
    done = subprocess.run(
        command,
        input=json.dumps(made.told()),
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def table_of(client: str, place: House) -> Table:
    """What the client made of each case, by route, once all are as they must be."""
    made = place.plan_for(client, ROUTES[client])
    table: Table = defaultdict(dict)
    for told in WALKS[client](made):
        table[told.pop("route")][told.pop("case")] = told
    wrong = [
        (step.route, step.case, table[step.route].get(step.case))
        for step in made.steps
        if not _is_right(client, step, table[step.route].get(step.case, NOTHING))
    ]
    assert not wrong, "\n".join(map(str, wrong))
    return table


def _is_right(client: str, step: plan.Step, told: Told) -> bool:
    if step.case in (WHOLE, STREAM, FIRST):
        return not told["raised"] and told["said"] > 0
    if step.case == CUT:  # the one for Node raises its runtime's error where it reads by itself
        broken = {"APIError", "TypeError" if step.route == SPEECH else "APIError"}
        return bool(broken & set(told["raised"]))
    status = int(step.case)
    wanted = OTHERS.get(client, {}).get(status, CLASSES[status])
    known = wanted in told["raised"] and str(told["request_id"]).startswith("req_")
    return known and told["status"] == status and bool(told["code"])


@pytest.fixture(scope="module")
def place(quick_stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """In front of a stand-in that serves every route."""
    worker = Served(quick_stand_in.url, quick_stand_in.model, (*OPENAIS, *ROUTES["anthropic"]))
    with house(tmp_path_factory.mktemp("house"), ROUTES, worker) as made:
        yield made


@pytest.mark.feature("A1", "A2", "A3", "A4", "A5", "A6", "A7", "A9", "A16", "A18")
def test_openai(place: House) -> None:
    assert table_of("openai", place)


@pytest.mark.feature("A9", "A17")
def test_anthropic(place: House) -> None:
    assert table_of("anthropic", place)


@pytest.mark.feature("A1", "A2", "A3", "A4", "A5", "A6", "A7", "A9", "A16", "A18")
@pytest.mark.usefixtures("node_walk")
def test_openai_for_node(place: House) -> None:
    assert table_of("node", place)


@pytest.mark.feature("A1", "A2", "A3", "A9", "A16")
@pytest.mark.usefixtures("langchain_client")
def test_langchain(place: House) -> None:
    told = table_of("langchain", place)[CHAT]["further"]["told"]
    assert told["stream"]["same"]
    assert told["stream"]["parts"] > 1
    assert told["stream"]["tokens"] == told["tokens"] > 0
    assert (told["call"], told["batch"]) == (["pick_unit"], 3)


@pytest.mark.feature("A1", "A9", "A16")
@pytest.mark.usefixtures("agents_client")
def test_openais_agents(place: House) -> None:
    table = table_of("agents", place)
    for route in ROUTES["agents"]:
        told = table[route]["further"]["told"]
        assert told["deltas"] > 1
        assert told["whole"]
        assert told["tokens"] > 0
        assert (told["tool"], told["said"]) == (["the unit is kelvin"], True)


@pytest.mark.long
@pytest.mark.feature("A1", "A2", "A3", "A9", "A16", "A17", "A18")
def test_before_real_vllm(
    vllm_server: VllmServer, vllm_embedding_server: VllmServer, tmp_path: Path
) -> None:
    """Those clients that this process has anyway."""
    workers = Served(vllm_server.url, vllm_server.model, TEXT), _embeds(vllm_embedding_server)
    with house(tmp_path, ("openai", "anthropic"), *workers) as made:
        assert table_of("openai", made)
        assert table_of("anthropic", made)


def test_the_document_says_what_is_walked() -> None:
    told: dict[str, list[str]] = {client: [] for client in ROUTES}
    classes = {}
    for line in (HERE.parents[2] / "docs" / "gateway.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] in plan.BODIES and len(cells) == len(ROUTES) + 1:
            for client, cell in zip(COLUMNS, cells[1:], strict=True):
                told[client] += [cells[0]] if cell else []
        elif len(cells) == 4 and cells[1].isdigit() and int(cells[1]) in CLASSES:
            classes[int(cells[1])] = (cells[2].strip("`"), cells[3].strip("`"))
    assert {client: set(routes) for client, routes in told.items()} == {
        client: set(routes) for client, routes in ROUTES.items()
    }
    assert classes == {
        status: (name, ANTHROPICS.get(status, name)) for status, name in CLASSES.items()
    }


@pytest.mark.long
@pytest.mark.usefixtures("node_walk", "langchain_client", "agents_client")
@pytest.mark.feature("A1", "A2", "A3", "A9", "A16", "A18")
@pytest.mark.parametrize("client", ["node", "langchain", "agents"])
def test_others_before_real_vllm(
    vllm_server: VllmServer, vllm_embedding_server: VllmServer, tmp_path: Path, client: str
) -> None:
    workers = Served(vllm_server.url, vllm_server.model, TEXT), _embeds(vllm_embedding_server)
    with house(tmp_path, (client,), *workers) as made:
        assert table_of(client, made)


@pytest.mark.long
@pytest.mark.usefixtures("node_walk")
@pytest.mark.feature("A4", "A9")
@pytest.mark.parametrize("client", ["openai", "node"])
def test_sounds_before_real_vllm(
    vllm_speech_server: VllmServer, tmp_path: Path, client: str
) -> None:
    worker = Served(vllm_speech_server.url, vllm_speech_server.model, SOUNDS)
    with house(tmp_path, (client,), worker) as made:
        assert table_of(client, made)


def _embeds(server: VllmServer) -> Served:
    return Served(server.url, server.model, POOLED)
