"""A RunPod stand-in at hand: requests go in, replies come out, time moves when told."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kernel.clock import ManualClock
from standins.clouds import runpod
from standins.clouds.faults import read_faults
from standins.clouds.rules import Rules
from standins.clouds.shell import Reply, Request

KEY = "rpa_desk"
L4 = "NVIDIA L4"
POD = {"name": "gng-1", "image": "img", "gpu": {"id": L4}}
RULES = Rules(
    accept_seconds=(1, 1), boot_seconds=(4, 4), terminate_seconds=(3, 3), listing_lag_seconds=0
)


class Desk:
    def __init__(self, rules: Rules = RULES, seed: int = 1) -> None:
        self.clock = ManualClock()
        self.world = runpod.make_world(self.clock, random.Random(seed), rules=rules)
        self.shell = runpod.make_app(self.world, api_key=KEY).shell

    def send(
        self, method: str, target: str, body: object = None, *, key: str | None = KEY
    ) -> Reply:
        parts = urlsplit(target)
        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        content = b"" if body is None else json.dumps(body).encode()
        query = parse_qs(parts.query)
        return self.shell.respond(Request(method, parts.path, query, headers, content))

    def rest(self, method: str, target: str, body: object = None, **how: Any) -> tuple[int, Any]:
        """Status and JSON of the answer (None where it has no body)."""
        answer = self.send(method, "/v2" + target, body, **how).answer
        assert answer is not None, "the connection was cut"
        return answer.status, json.loads(answer.body) if answer.body else None

    def made(self, **changes: object) -> str:
        status, pod = self.rest("POST", "/pods", {**POD, **changes})
        assert status == 201, pod
        return str(pod["id"])

    def graphql(
        self, query: str, variables: dict[str, Any] | None = None, **how: Any
    ) -> tuple[int, Any]:
        body = {"query": query, "variables": variables}
        answer = self.send("POST", "/graphql", body, **how).answer
        assert answer is not None, "the connection was cut"
        return answer.status, json.loads(answer.body)

    def fail(self, **fault: object) -> None:
        self.world.add_faults(read_faults(fault))
