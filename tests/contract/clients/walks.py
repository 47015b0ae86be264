"""Each client's walk of its plan, and whether its end was as it must be: what the tests in front of
the stand-in and of real vLLM share.

One process a client takes its whole plan.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.contract.clients import anthropic_walk, openai_walk, plan
from tests.contract.clients.house import House
from tests.contract.clients.plan import (
    CHAT,
    COMPLETIONS,
    COUNT,
    CUT,
    DOWN,
    EMBEDDINGS,
    FIRST,
    IMAGES,
    MESSAGES_ROUTE,
    MODELS,
    ONE,
    POOLED,
    RESPONSES,
    SOUNDS,
    SPEECH,
    STREAM,
    WHOLE,
    Plan,
)
from tests.support.workers_node import ENVIRONMENT as NODE_ENVIRONMENT
from tools import node_part, vendors_part

HERE = Path(__file__).parent
SECONDS_MAX = 180
OPENAIS = (CHAT, COMPLETIONS, RESPONSES, *POOLED, IMAGES, SPEECH, *SOUNDS, MODELS)
ROUTES = {
    "openai": OPENAIS,
    "node": OPENAIS,
    "langchain": (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS),
    "agents": (CHAT, RESPONSES),
    "anthropic": (MESSAGES_ROUTE, COUNT, MODELS),
}
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
    return checked(client, made, took(client, made))


def took(client: str, made: Plan) -> Table:
    """What it made of each step of a plan."""
    table: Table = defaultdict(dict)
    for told in WALKS[client](made):
        table[told.pop("route")][told.pop("case")] = told
    return table


def checked(client: str, made: Plan, table: Table) -> Table:
    wrong = [
        (step.route, step.case, table[step.route].get(step.case))
        for step in made.steps
        if not _is_right(client, step, table[step.route].get(step.case, NOTHING))
    ]
    assert not wrong, "\n".join(map(str, wrong))
    return table


def _is_right(client: str, step: plan.Step, told: Told) -> bool:
    if step.case in (WHOLE, ONE, STREAM, FIRST):
        return not told["raised"] and told["said"] > 0
    if step.case == CUT:  # the one for Node raises its runtime's error where it reads by itself
        broken = {"APIError", "TypeError" if step.route == SPEECH else "APIError"}
        return bool(broken & set(told["raised"]))
    status = told["status"] if step.case == DOWN else int(step.case)
    if status not in CLASSES or (step.case == DOWN and status < 500):
        return False
    wanted = OTHERS.get(client, {}).get(status, CLASSES[status])
    known = wanted in told["raised"] and str(told["request_id"]).startswith("req_")
    return known and told["status"] == status and bool(told["code"])


def agents_did(table: dict[str, Any]) -> list[str]:
    """The routes on which all of it was streamed and counted, and the tool called and heard."""
    done = []
    for route in ROUTES["agents"]:
        told = table[route]["further"]["told"]
        assert told["deltas"] > 1
        assert told["whole"]
        assert told["tokens"] > 0
        assert (told["tool"], told["said"]) == (["the unit is kelvin"], True)
        done.append(route)
    return done
