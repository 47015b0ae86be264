"""Providers, join tokens, enrolment and nodes through the API."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.clock import ManualClock
from kernel.wire import encode
from kernel.wire.agent import EnrollRequest
from tests.support.brain import Somebody, signed_up
from tests.support.fleet import gpu, host

ENROL = "/agent/v1/enroll"
TOKENS = "/api/v1/provider/join-tokens"


@pytest.fixture
async def provider(brain: httpx.AsyncClient) -> Somebody:
    who = await signed_up(brain)
    made = await brain.post("/api/v1/provider", json={"name": "Farm"}, headers=who.headers)
    assert made.status_code == 200, made.text
    return who


async def new_token(brain: httpx.AsyncClient, who: Somebody) -> str:
    made = await brain.post(TOKENS, headers=who.headers)
    assert made.status_code == 201, made.text
    return str(made.json()["token"])


def enrolment(token: str, public_key: str | None = None, **changes: Any) -> EnrollRequest:
    public = public_key or Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    request = EnrollRequest(token, public, "1", host(), [gpu("GPU-1"), gpu("GPU-2")])
    for name, value in changes.items():
        setattr(request, name, value)
    return request


async def enrol(brain: httpx.AsyncClient, request: EnrollRequest) -> httpx.Response:
    return await brain.post(ENROL, content=encode(request))


async def enrolled(brain: httpx.AsyncClient, who: Somebody) -> str:
    answer = await enrol(brain, enrolment(await new_token(brain, who)))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["node_id"])


@pytest.mark.feature("C1")
async def test_a_token_makes_a_node_of_its_provider(
    brain: httpx.AsyncClient, provider: Somebody
) -> None:
    node_id = await enrolled(brain, provider)
    listed = await brain.get("/api/v1/provider/nodes", headers=provider.headers)
    assert [node["node_id"] for node in listed.json()["items"]] == [node_id]
    assert listed.json()["items"][0]["state"] == "never_heard"


@pytest.mark.feature("C1")
async def test_a_token_is_for_one_node(brain: httpx.AsyncClient, provider: Somebody) -> None:
    token = await new_token(brain, provider)
    assert (await enrol(brain, enrolment(token))).status_code == 200
    again = await enrol(brain, enrolment(token))
    assert (again.status_code, again.json()["code"]) == (409, "join_token_used")


@pytest.mark.feature("C1")
async def test_of_many_at_once_one_gets_the_token(
    brain: httpx.AsyncClient, provider: Somebody
) -> None:
    token = await new_token(brain, provider)
    answers = await asyncio.gather(*(enrol(brain, enrolment(token)) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7


async def test_a_lost_answer_can_be_asked_for_again(
    brain: httpx.AsyncClient, provider: Somebody
) -> None:
    request = enrolment(await new_token(brain, provider))
    first, second = await enrol(brain, request), await enrol(brain, request)
    assert first.json() == second.json()


@pytest.mark.feature("C1")
async def test_a_token_lasts_thirty_minutes(
    brain: httpx.AsyncClient, provider: Somebody, clock: ManualClock
) -> None:
    token = await new_token(brain, provider)
    clock.advance(1800)
    answer = await enrol(brain, enrolment(token))
    assert (answer.status_code, answer.json()["code"]) == (401, "join_token_expired")


async def test_a_key_of_another_node_does_not_use_up_the_token(
    brain: httpx.AsyncClient, provider: Somebody
) -> None:
    first = enrolment(await new_token(brain, provider))
    await enrol(brain, first)
    token = await new_token(brain, provider)
    refused = await enrol(brain, enrolment(token, first.public_key))
    assert (refused.status_code, refused.json()["code"]) == (409, "key_in_use")
    assert (await enrol(brain, enrolment(token))).status_code == 200


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"token": "gj_unknown"}, 401),
        ({"token": "x" * 201}, 400),
        ({"public_key": "z" * 64}, 422),
        ({"public_key": "00"}, 400),
        ({"gpus": [gpu("GPU-1"), gpu("GPU-1")]}, 422),
        ({"gpus": [gpu(f"GPU-{n}") for n in range(65)]}, 400),
        ({"v": 99}, 422),
        ({"name": "a\x00b"}, 422),
        ({"name": "x" * 70_000}, 413),
    ],
)
async def test_an_enrolment_that_cannot_be_is_refused(
    brain: httpx.AsyncClient, provider: Somebody, changes: dict[str, Any], status: int
) -> None:
    token = await new_token(brain, provider)
    answer = await enrol(brain, enrolment(**({"token": token} | changes)))
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await enrol(brain, enrolment(token))).status_code == 200


async def test_who_is_no_provider_gets_no_token(brain: httpx.AsyncClient) -> None:
    who = await signed_up(brain)
    assert (await brain.post(TOKENS, headers=who.headers)).status_code == 403
    assert (await brain.post(TOKENS)).status_code == 401


async def test_open_tokens_are_limited(brain: httpx.AsyncClient, provider: Somebody) -> None:
    for _ in range(20):
        await new_token(brain, provider)
    refused = await brain.post(TOKENS, headers=provider.headers)
    assert refused.status_code == 429
    assert "retry-after" in refused.headers


@pytest.mark.feature("C7")
async def test_a_provider_sets_the_price_of_its_node(
    brain: httpx.AsyncClient, provider: Somebody
) -> None:
    path = f"/api/v1/provider/nodes/{await enrolled(brain, provider)}"
    body = {"price_usd_per_gpu_hour": "0.123456789", "listed": False}
    changed = await brain.patch(path, json=body, headers=provider.headers)
    assert changed.status_code == 200, changed.text
    assert changed.json()["price_nano_per_gpu_hour"] == 123_456_789
    assert changed.json()["listed"] is False


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"price": "1"},
        {"price_usd_per_gpu_hour": 1},
        {"price_usd_per_gpu_hour": "-1"},
        {"listed": "maybe"},
        {"region": "Some Where"},
        {"name": ""},
    ],
)
async def test_a_change_that_cannot_be_is_refused(
    brain: httpx.AsyncClient, provider: Somebody, body: dict[str, Any]
) -> None:
    path = f"/api/v1/provider/nodes/{await enrolled(brain, provider)}"
    answer = await brain.patch(path, json=body, headers=provider.headers)
    assert answer.status_code == 422, answer.text


async def test_another_providers_node_is_not_found(
    brain: httpx.AsyncClient, provider: Somebody
) -> None:
    path = f"/api/v1/provider/nodes/{await enrolled(brain, provider)}"
    other = await signed_up(brain)
    changed = await brain.patch(path, json={"listed": False}, headers=other.headers)
    gone = await brain.delete(path, headers=other.headers)
    assert (changed.status_code, gone.status_code) == (404, 404)


@pytest.mark.feature("C2")
async def test_a_revoked_node_is_gone_from_the_list(
    brain: httpx.AsyncClient, provider: Somebody
) -> None:
    path = f"/api/v1/provider/nodes/{await enrolled(brain, provider)}"
    assert (await brain.delete(path, headers=provider.headers)).status_code == 200
    listed = await brain.get("/api/v1/nodes", headers=provider.headers)
    assert listed.json() == {"items": [], "next": None}
