"""Pods, volumes, keys and registries over HTTP: what is asked, answered and refused."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI
from sqlalchemy import text

from brain.deployments import Feed
from brain.deployments.feed import FOR_FRONTS, FOR_GATEWAYS
from brain.plumbing import Ctx
from kernel.ids import AccountId
from kernel.wire.gateway import ChangeLine, PodState, Snapshot
from tests.support.brain import Somebody, admin, api_key, signed_up
from tests.support.deployments import give

pytestmark = pytest.mark.feature("E1")
URL = "/api/v1/pods"
BOX = {"image": "busybox:1.36", "gpus": {"simulated": True}}
TOLD_SECONDS_MAX = 30  # of a machine that is busy with other tests


@pytest.fixture
async def who(brain: httpx.AsyncClient, ctx: Ctx) -> Somebody:
    made = await signed_up(brain)
    await give(ctx, AccountId(made.account_id))
    return made


async def create(
    brain: httpx.AsyncClient, who: Somebody, body: dict[str, Any] | None = None, **headers: str
) -> httpx.Response:
    return await brain.post(URL, json=BOX | (body or {}), headers={**who.headers, **headers})


def public_key() -> str:
    public = Ed25519PrivateKey.generate().public_key()
    packed = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return packed.decode()


async def test_a_pod_is_made_with_its_addresses(brain: httpx.AsyncClient, who: Somebody) -> None:
    made = (await create(brain, who, {"name": "box", "ports": [8888, 80]})).json()
    slug = made["slug"]
    assert (made["name"], made["state"], made["asked"]) == ("box", "waiting", "running")
    assert [one["url"] for one in made["ports"]] == [
        f"http://{slug}-80.localhost:8081",
        f"http://{slug}-8888.localhost:8081",
    ]
    assert made["ssh"] == f"ssh {slug}@localhost -p 2222"
    assert (made["cost_usd"], made["reachable"], made["run"]) == ("0.00", False, None)


@pytest.mark.parametrize("field", ["pod_id", "slug", "name"])
async def test_a_pod_is_found_by_id_slug_and_name(
    brain: httpx.AsyncClient, who: Somebody, field: str
) -> None:
    made = (await create(brain, who, {"name": "box"})).json()
    found = await brain.get(f"{URL}/{made[field]}", headers=who.headers)
    assert found.json() == made


async def test_values_of_variables_are_never_shown(brain: httpx.AsyncClient, who: Somebody) -> None:
    value = secrets.token_hex(16)
    made = await create(brain, who, {"env": {"HF_TOKEN": value}})
    assert made.json()["env"] == ["HF_TOKEN"]
    assert value not in made.text
    listed = await brain.get(URL, headers=who.headers)
    assert value not in listed.text


BAD = [
    ({"image": "Not An Image"}, "image"),
    ({"env": {"1A": "x"}}, "env"),
    ({"env": {"NVIDIA_VISIBLE_DEVICES": "all"}}, "env"),
    ({"ports": [0]}, "ports"),
    ({"ports": [80, 80]}, "ports"),
    ({"volumes": [{"name": "d", "path": "/", "size_gib": 1}]}, None),
    ({"volumes": [{"name": "d", "path": "/proc/x", "size_gib": 1}]}, "volumes"),
    ({"volumes": [{"name": "d", "path": "data", "size_gib": 1}]}, "volumes"),
    ({"volumes": [{"name": "d", "path": "/data"}]}, "volumes"),
    ({"volumes": [{"path": "/data", "size_gib": 1}]}, None),
    ({"name": "Not_A_Label"}, "name"),
    ({"gpus": {"count": 0}}, None),
    ({"gpus": {"count": "1"}}, None),
    ({"secrets": ["NO SUCH"]}, "name"),
    ({"max_price_usd_per_gpu_hour": "0"}, "max_price_usd_per_gpu_hour"),
    ({"unknown": 1}, None),
    ({"command": ["x" * 5000]}, None),
    ({"max_duration_seconds": 5}, None),
]


@pytest.mark.parametrize(("body", "param"), BAD, ids=[str(b)[:50] for b, _ in BAD])
async def test_what_cannot_be_is_refused_with_its_place(
    brain: httpx.AsyncClient, who: Somebody, body: dict[str, Any], param: str | None
) -> None:
    answer = await create(brain, who, body)
    assert answer.status_code == 422, answer.text
    if param is not None:
        assert answer.json()["param"] == param
    assert (await brain.get(URL, headers=who.headers)).json()["items"] == []


async def test_the_same_key_makes_one_pod(brain: httpx.AsyncClient, who: Somebody) -> None:
    first = await create(brain, who, **{"idempotency-key": "k1"})
    again = await create(brain, who, **{"idempotency-key": "k1"})
    assert first.json()["pod_id"] == again.json()["pod_id"]
    assert len((await brain.get(URL, headers=who.headers)).json()["items"]) == 1


async def test_without_credit_nothing_is_made(brain: httpx.AsyncClient) -> None:
    poor = await signed_up(brain)
    assert (await create(brain, poor)).status_code == 402
    volume = {"name": "d", "size_gib": 1}
    answer = await brain.post("/api/v1/volumes", json=volume, headers=poor.headers)
    assert answer.status_code == 402


async def test_another_accounts_things_are_not_found(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    made = (await create(brain, who, {"name": "mine"})).json()
    other = await signed_up(brain)
    for path in (made["pod_id"], made["slug"], "mine"):
        for method, rest in [("GET", ""), ("POST", "/stop"), ("DELETE", ""), ("GET", "/logs")]:
            answer = await brain.request(method, f"{URL}/{path}{rest}", headers=other.headers)
            assert answer.status_code == 404, (method, path, rest)


async def test_a_pod_is_no_deployment_to_look_at(brain: httpx.AsyncClient, who: Somebody) -> None:
    await create(brain, who)
    listed = await brain.get("/api/v1/deployments", headers=who.headers)
    assert listed.json()["items"] == []


async def test_stop_start_and_terminate_answer_with_the_pod(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    made = (await create(brain, who)).json()
    at = f"{URL}/{made['slug']}"
    stopped = await brain.post(f"{at}/stop", headers=who.headers)
    assert (stopped.status_code, stopped.json()["asked"]) == (200, "stopped")
    started = await brain.post(f"{at}/start", headers=who.headers)
    assert (started.status_code, started.json()["asked"]) == (200, "running")
    ended = await brain.delete(f"{at}?delete_volumes=true", headers=who.headers)
    assert (ended.status_code, ended.json()["state"]) == (202, "terminating")
    refused = await brain.post(f"{at}/start", headers=who.headers)
    assert refused.status_code == 409
    what = (await brain.get(f"{at}/events", headers=who.headers)).json()["items"]
    assert {e["what"] for e in what} == {"created", "stop asked", "start asked"}


async def test_why_logs_and_stats_answer_before_anything_ran(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    at = f"{URL}/{(await create(brain, who)).json()['pod_id']}"
    why = (await brain.get(f"{at}/why", headers=who.headers)).json()
    assert why["outcome"] == "No place was looked for yet."
    assert (await brain.get(f"{at}/logs", headers=who.headers)).json() == {"items": []}
    assert (await brain.get(f"{at}/stats", headers=who.headers)).json()["seen_at"] is None


async def test_a_key_with_the_scope_read_only_reads(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    reader = {"authorization": f"Bearer {await api_key(brain, who, 'read')}"}
    assert (await brain.get(URL, headers=reader)).status_code == 200
    assert (await brain.post(URL, json=BOX, headers=reader)).status_code == 403


@pytest.mark.feature("E2")
async def test_a_volume_is_made_listed_and_removed(brain: httpx.AsyncClient, who: Somebody) -> None:
    at, body = "/api/v1/volumes", {"name": "data", "size_gib": 5}
    made = (await brain.post(at, json=body, headers=who.headers)).json()
    assert (made["state"], made["node_id"], made["cost_usd_per_hour"]) == ("new", None, "0.00")
    assert made["price_usd_per_gib_hour"] == "0.000136986"
    assert (await brain.post(at, json=body, headers=who.headers)).status_code == 409
    listed = (await brain.get(at, headers=who.headers)).json()["items"]
    assert [v["volume_id"] for v in listed] == [made["volume_id"]]
    gone = await brain.delete(f"{at}/data", headers=who.headers)
    assert (gone.status_code, gone.json()["state"]) == (202, "gone")
    assert (await brain.get(at, headers=who.headers)).json()["items"] == []


@pytest.mark.feature("E2")
async def test_a_pods_volume_is_made_with_it_and_held_by_it(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    mount = {"name": "data", "path": "/data", "size_gib": 5}
    made = (await create(brain, who, {"volumes": [mount]})).json()
    (shown,) = made["volumes"]
    assert (shown["name"], shown["path"], shown["state"]) == ("data", "/data", "new")
    refused = await brain.delete("/api/v1/volumes/data", headers=who.headers)
    assert refused.status_code == 409


@pytest.mark.feature("E2")
async def test_only_administrators_see_what_nobody_owns(
    brain: httpx.AsyncClient, ctx: Ctx, who: Somebody
) -> None:
    at = "/api/v1/admin/volumes/strays"
    assert (await brain.get(at, headers=who.headers)).status_code == 403
    root = await admin(brain, ctx)
    assert (await brain.get(at, headers=root.headers)).json() == {"items": []}
    one = f"{at}/node_{'0' * 32}/vol_x"
    assert (await brain.delete(one)).status_code == 401
    assert (await brain.delete(one, headers=who.headers)).status_code == 403
    assert (await brain.delete(one, headers=root.headers)).status_code == 404
    odd = await brain.delete(f"{at}/here/vol_x", headers=root.headers)
    assert odd.status_code == 422


@pytest.mark.feature("E3")
async def test_ssh_keys_are_added_listed_and_deleted(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    at, line = "/api/v1/ssh-keys", public_key()
    made = await brain.post(at, json={"public_key": f"{line} me@host"}, headers=who.headers)
    assert made.status_code == 201
    assert (made.json()["name"], made.json()["public_key"]) == ("me@host", line)
    twice = await brain.post(at, json={"public_key": line}, headers=who.headers)
    assert twice.status_code == 409
    bad = await brain.post(at, json={"public_key": "ssh-rsa AAAA"}, headers=who.headers)
    assert (bad.status_code, bad.json()["param"]) == (422, "public_key")
    key_id = made.json()["ssh_key_id"]
    assert (await brain.delete(f"{at}/{key_id}", headers=who.headers)).status_code == 204
    assert (await brain.get(at, headers=who.headers)).json() == {"items": []}


async def test_registry_passwords_are_sealed_and_never_shown(
    brain: httpx.AsyncClient, ctx: Ctx, who: Somebody
) -> None:
    at, password = "/api/v1/registries", secrets.token_hex(16)
    body = {"name": "hub", "server": "GHCR.io", "username": "me", "password": password}
    made = await brain.post(at, json=body, headers=who.headers)
    assert made.json()["server"] == "ghcr.io"
    listed = await brain.get(at, headers=who.headers)
    assert password not in made.text + listed.text
    async with ctx.db.begin() as tx:
        sealed = await tx.scalar(text("SELECT sealed FROM registry_credential"))
    assert sealed is not None
    assert password.encode() not in bytes(sealed)


async def test_credentials_go_with_their_own_registry_alone(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    body = {"name": "hub", "server": "ghcr.io", "username": "me", "password": "p"}
    await brain.post("/api/v1/registries", json=body, headers=who.headers)
    wrong = await create(brain, who, {"registry_id": "hub"})
    assert (wrong.status_code, wrong.json()["param"]) == (422, "registry_id")
    right = await create(brain, who, {"registry_id": "hub", "image": "ghcr.io/me/it"})
    assert right.status_code == 201
    held = await brain.delete("/api/v1/registries/hub", headers=who.headers)
    assert held.status_code == 409


@pytest.mark.feature("E3")
async def test_fronts_are_told_of_pods_and_gateways_are_not(
    app: FastAPI, brain: httpx.AsyncClient, who: Somebody
) -> None:
    line = public_key()
    await brain.post("/api/v1/ssh-keys", json={"public_key": line}, headers=who.headers)
    async with told(app.state.feed, FOR_FRONTS) as front, told(app.state.feed) as gateway:
        assert (await front()).snapshot == Snapshot()
        assert (await gateway()).snapshot is not None
        made = (await create(brain, who, {"ports": [80]})).json()
        pod = (await front()).pod
        assert pod is not None
        assert (pod.pod_id, pod.slug, pod.ports) == (made["pod_id"], made["slug"], [80])
        assert (pod.ssh_keys, pod.state) == ([line], PodState.STOPPED)
        await brain.delete(f"/api/v1/ssh-keys/{await only_key(brain, who)}", headers=who.headers)
        again = (await front()).pod
        assert again is not None
        assert again.ssh_keys == []
        await api_key(brain, who)
        assert (await gateway()).key is not None, "the first that it is told of"


async def only_key(brain: httpx.AsyncClient, who: Somebody) -> str:
    (one,) = (await brain.get("/api/v1/ssh-keys", headers=who.headers)).json()["items"]
    return str(one["ssh_key_id"])


@asynccontextmanager
async def told(
    feed: Feed, wants: frozenset[str] = FOR_GATEWAYS
) -> AsyncIterator[Callable[[], Awaitable[ChangeLine]]]:
    """The next line that is neither a digest nor a sign of life."""
    async with feed.subscribe(wants) as subscriber:

        async def following() -> ChangeLine:
            async with asyncio.timeout(TOLD_SECONDS_MAX):
                while True:
                    line = await subscriber.lines.get()
                    assert line is not None
                    if not (line.beat or line.blind or line.digest):
                        return line

        yield following
