"""Statements in every field of every route, and in the credential before anybody is known: none is
ever a part of ours. GANGLION_TEST_SEED draws others."""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator
from random import Random
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from brain.plumbing import Ctx
from kernel.wire import encode
from kernel.wire.gateway import Hello, SliceRequest, UsageBatch, Watermark
from kernel.wire.replays import Claim
from tests.integration.brain.billing.stage import Stage
from tests.integration.brain.billing.test_routes import GATEWAY
from tests.support.brain import admin, api_key, signed_up
from tests.support.injections import (
    MOVED,
    PAYLOADS,
    SEQUENCE,
    SLEEP_SECONDS,
    STATEMENTS,
    body,
)

pytestmark = pytest.mark.feature("I2", "I3")
SEED = int(os.environ.get("GANGLION_TEST_SEED", "1"))
HEADERS = (
    "authorization",
    "idempotency-key",
    "x-request-id",
    "user-agent",
    "cookie",
    "traceparent",
)
SIGNATURES = ("stripe-signature", "x-cc-webhook-signature", "x-forwarded-for", "origin")
Route = tuple[str, str, dict[str, Any]]


@pytest.fixture
async def brain_watched(brain: httpx.AsyncClient, ctx: Ctx) -> AsyncIterator[httpx.AsyncClient]:
    """Fails when the sequence was moved, or an answer took as long as a payload sleeps."""
    took: list[float] = []

    async def note(answer: httpx.Response) -> None:
        await answer.aread()
        took.append(answer.elapsed.total_seconds())

    async with ctx.db.begin() as tx:
        await tx.execute(text(SEQUENCE))
    brain.event_hooks["response"].append(note)
    print(f"seed {SEED}")
    yield brain
    async with ctx.db.begin() as tx:
        assert await tx.scalar(text(MOVED)) is False, f"seed {SEED}: a payload was carried out"
    assert max(took) < SLEEP_SECONDS, f"seed {SEED}"


def routes(app: FastAPI) -> list[Route]:
    document = app.openapi()
    return [
        (method.upper(), path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]


def asked(app: FastAPI, route: Route, payload: str, chance: Random) -> dict[str, Any]:
    """The route's request with the payload in its path, query, headers and body."""
    method, path, operation = route
    query = {
        one["name"]: payload
        for one in operation.get("parameters", ())
        if one["in"] == "query" and chance.random() < 0.7
    }
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    made = body(content["schema"], app.openapi(), payload, chance) if content else None
    return {
        "method": method,
        "url": re.sub(r"{[^}]+}", quote(payload, safe=""), path),
        "params": query,
        "json": made,
    }


async def tried(
    brain: httpx.AsyncClient, app: FastAPI, who: list[dict[str, str]], chance: Random, times: int
) -> int:
    """Each route so often with each of these credentials; how many requests."""
    count = 0
    for route in routes(app):
        for headers in who * times:
            payload = chance.choice(PAYLOADS)
            extra = {name: payload for name in HEADERS[1:] if chance.random() < 0.3}
            wanted = asked(app, route, payload, chance)
            answer = await brain.request(**wanted, headers={**extra, **headers})
            assert answer.status_code != 500, (SEED, wanted, answer.text)
            count += 1
    return count


async def people(brain: httpx.AsyncClient, ctx: Ctx) -> list[dict[str, str]]:
    somebody, root = await signed_up(brain), await admin(brain, ctx)
    key = await api_key(brain, somebody)
    return [somebody.headers, root.headers, {"authorization": f"Bearer {key}"}]


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_a_payload_that_is_put_into_a_statement_is_seen(ctx: Ctx, payload: str) -> None:
    """Else the tests below could not fail."""
    statement = STATEMENTS[payload].replace("%", payload).replace(f"({SLEEP_SECONDS})", "(0)")
    async with ctx.db.begin() as tx:
        await tx.execute(text(SEQUENCE))
        raw: Any = await (await tx.connection()).get_raw_connection()
        await raw.driver_connection.execute(statement)
        assert await tx.scalar(text(MOVED)) is True


async def test_no_field_of_any_route_is_put_into_a_statement(
    app: FastAPI, brain_watched: httpx.AsyncClient, ctx: Ctx
) -> None:
    who = await people(brain_watched, ctx)
    assert await tried(brain_watched, app, who, Random(SEED), 1) > 300


@pytest.mark.long
async def test_no_field_of_any_route_is_with_any_payload(
    app: FastAPI, brain_watched: httpx.AsyncClient, ctx: Ctx
) -> None:
    who = await people(brain_watched, ctx)
    for seed in range(SEED, SEED + 2):
        count = await tried(brain_watched, app, who, Random(seed), len(PAYLOADS))
        assert count > 300 * len(PAYLOADS)


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_no_credential_is_put_into_a_statement(
    brain_watched: httpx.AsyncClient, payload: str
) -> None:
    path = "/api/v1/keys"
    for said in (payload, f"gk_{payload}", f"gk_{'k' * 43}{payload}", f"a.{payload}.c"):
        for credential in (f"Bearer {said}", f"Basic {said}", said):
            headers = {"authorization": credential, **dict.fromkeys(SIGNATURES, payload)}
            assert (await brain_watched.get(path, headers=headers)).status_code == 401
    for path in ("/auth/login", "/auth/register"):
        told = {"email": payload, "password": payload}
        assert (await brain_watched.post(path, json=told)).status_code in (401, 422)


async def test_nothing_that_gateways_say_is_put_into_a_statement(
    brain_watched: httpx.AsyncClient, ctx: Ctx, clock: Any
) -> None:
    stage = Stage(ctx, clock)
    await stage.gateway.hello()
    terms, account = await stage.ready_lease(), await stage.rich()
    for payload in PAYLOADS:
        right = stage.segment(terms, account, stage.now, stage.now + 1)
        fields = [name for name, value in json.loads(encode(right)).items() if type(value) is str]
        pieces = [{**json.loads(encode(right)), name: payload} for name in fields]
        batch = json.loads(encode(UsageBatch("boot_1", "gw", 6 * 10**9, [])))
        batch |= {"segments": pieces, "returns": [{"slice_id": payload}], "closed_boots": [payload]}
        batch["watermarks"] = [json.loads(encode(Watermark(payload, 1)))]
        for path, message in (
            ("usage", batch),
            ("usage", {**batch, "boot_id": payload}),
            ("hello", json.loads(encode(Hello(payload, payload, 1, payload)))),
            ("replays/claim", json.loads(encode(Claim(payload, "k", payload, payload, payload)))),
            ("slices", json.loads(encode(SliceRequest(payload, payload, str(account), 2, 1)))),
        ):
            url = f"/internal/gateway/{path}"
            answer = await brain_watched.post(url, json=message, headers=GATEWAY)
            assert answer.status_code in (200, 402, 409, 422), answer.text
