"""Every route of the brain asks who is calling, unless it stands on the list below."""

from __future__ import annotations

import re
import secrets

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

# A route without a credential is written down here, with the reason; anything else is a leak.
PUBLIC = {
    "/": "says what this is",
    "/docs": "documentation",
    "/docs/start.js": "documentation",
    "/docs/files": "documentation",
    "/openapi.json": "documentation",
    "/metrics": "its own token; closed in production without one, else for this machine alone",
    "/metrics/nodes": "as /metrics, and only where its switch is on",
    "/health/live": "for supervisors",
    "/health/ready": "for supervisors",
    "/health/dependencies": "for supervisors; tells no address",
    "/auth/register": "nobody has a credential yet",
    "/auth/login": "trades a password for a credential",
    "/agent/code": "what anybody may read; a rented machine has nothing but its digest yet",
    "/agent/file": "the same for hosts, with its libraries; who runs it knows its digest",
    "/payments/done": "thanks whoever comes back from a processor's page; reads nothing",
    "/webhooks/momo": "MoMo signs nothing; it says where to look, and nothing of it is believed",
    "/install": "what a host runs before it is a node; the token that it needs is not in it",
}
# Proved by what the body holds (a one-use token, the node's signature), not by a header.
SIGNED_INSIDE = {
    *("/agent/v1/enroll", "/agent/v1/session", "/agent/v1/rotate"),
    *("/webhooks/stripe", "/webhooks/coinbase"),
}
UNDOCUMENTED = re.compile(
    r"/$|/docs|/openapi.json|/metrics|/internal/|/agent/|/install$|/webhooks/|/payments/done$"
)


def _routes(app: FastAPI) -> list[tuple[str, str]]:
    found = []
    for route in iter_route_contexts(app.routes):
        methods = set(getattr(route, "methods", None) or {"GET"}) - {"HEAD"}
        found += [(method, str(route.path)) for method in sorted(methods)]
    return found


def _address(path: str) -> str:
    return re.sub(r"{[^}]+}", "x" * 8, path)


@pytest.mark.parametrize(
    "credential",
    [None, "Bearer x", "Basic eDp4", "Bearer gk_" + secrets.token_urlsafe(32), "Bearer a.b.c"],
    ids=["none", "short", "basic", "key", "token"],
)
async def test_every_route_refuses_a_stranger(
    app: FastAPI, brain: httpx.AsyncClient, credential: str | None
) -> None:
    headers = {} if credential is None else {"authorization": credential}
    open_to_all = set()
    for method, path in _routes(app):
        if path not in PUBLIC and path not in SIGNED_INSIDE:
            answer = await brain.request(method, _address(path), headers=headers)
            if answer.status_code != 401:
                open_to_all.add(f"{method} {path}: {answer.status_code}")
    assert open_to_all == set(), "add a dependency that asks who calls, or a line to PUBLIC"


async def test_what_is_signed_inside_takes_nothing_unsigned(brain: httpx.AsyncClient) -> None:
    for path in SIGNED_INSIDE:
        for content in (b"", b"{}", b"[]", b"null", b"\xff", b'{"v": 1}'):
            answer = await brain.post(path, content=content)
            assert answer.status_code in {400, 401, 422}, (path, content)


def test_the_list_names_only_routes_that_there_are(app: FastAPI) -> None:
    assert {*PUBLIC, *SIGNED_INSIDE} <= {path for _, path in _routes(app)}


def test_every_management_route_is_in_openapi(app: FastAPI) -> None:
    documented = app.openapi()["paths"]
    for method, path in _routes(app):
        if not UNDOCUMENTED.match(path):
            operation = documented[path.replace(":path", "")][method.lower()]
            assert operation["description"], path
            assert "security" in operation or path in PUBLIC, path


def test_every_body_refuses_unknown_fields(app: FastAPI) -> None:
    document = app.openapi()
    schemas = document["components"]["schemas"]
    for path in document["paths"].values():
        for operation in path.values():
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                for name in re.findall(r"schemas/(\w+)", str(content)):
                    assert schemas[name].get("additionalProperties") is False, name
