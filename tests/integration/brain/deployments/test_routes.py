"""Deployments and catalog over HTTP: what is asked, what is answered, what is refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from brain.plumbing import Ctx
from kernel.ids import AccountId
from tests.support.brain import Somebody, admin, api_key, signed_up
from tests.support.deployments import give

STANDIN = {"model": "ganglion/stand-in"}
URL = "/api/v1/deployments"


@pytest.fixture
async def who(brain: httpx.AsyncClient, ctx: Ctx) -> Somebody:
    made = await signed_up(brain)
    await give(ctx, AccountId(made.account_id))
    return made


async def deploy(
    brain: httpx.AsyncClient, who: Somebody, body: dict[str, Any] | None = None, **headers: str
) -> httpx.Response:
    return await brain.post(URL, json=body or STANDIN, headers={**who.headers, **headers})


@pytest.mark.feature("D3")
async def test_a_deployment_is_made_named_and_listed(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    made = (await deploy(brain, who)).json()
    assert (made["name"], made["state"], made["replicas"]) == (STANDIN["model"], "waiting", 1)
    listed = (await brain.get(URL, headers=who.headers)).json()
    assert [item["deployment_id"] for item in listed["items"]] == [made["deployment_id"]]
    one = await brain.get(f"{URL}/{made['deployment_id']}", headers=who.headers)
    assert one.json() == made


async def test_an_api_key_reads_and_writes_by_its_scopes(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    reader = {"authorization": f"Bearer {await api_key(brain, who, 'read')}"}
    assert (await brain.get(URL, headers=reader)).status_code == 200
    assert (await brain.post(URL, json=STANDIN, headers=reader)).status_code == 403
    writer = {"authorization": f"Bearer {await api_key(brain, who, 'write')}"}
    assert (await brain.post(URL, json=STANDIN, headers=writer)).status_code == 201


async def test_without_a_credential_nothing_is_shown(brain: httpx.AsyncClient) -> None:
    for path in (URL, "/api/v1/catalog", f"{URL}/dep_{'0' * 32}"):
        assert (await brain.get(path)).status_code == 401


BAD = [
    ({}, 422),
    ({"model": 7}, 422),
    ({"model": "x" * 97}, 422),
    ({"model": "nobody/nothing"}, 404),
    ({**STANDIN, "replicas": 0}, 422),
    ({**STANDIN, "replicas": 65}, 422),
    ({**STANDIN, "replicas": "2"}, 422),
    ({**STANDIN, "replicas": 1.5}, 422),
    ({**STANDIN, "context": 8193}, 422),
    ({**STANDIN, "concurrency": 1025}, 422),
    ({**STANDIN, "max_price_usd_per_gpu_hour": "a lot"}, 422),
    ({**STANDIN, "max_price_usd_per_gpu_hour": "0"}, 422),
    ({**STANDIN, "max_price_usd_per_gpu_hour": "1001"}, 422),
    ({**STANDIN, "max_price_usd_per_gpu_hour": 1.5}, 422),
    ({**STANDIN, "name": "no spaces here"}, 422),
    ({**STANDIN, "name": "a\u0000b"}, 422),
    ({**STANDIN, "gpu": "x" * 61}, 422),
    ({**STANDIN, "max_duration_seconds": 59}, 422),
    ({**STANDIN, "idle_stop_seconds": "one hour"}, 422),
    ({**STANDIN, "colour": "red"}, 422),
    ({**STANDIN, "pool": True}, 403),
    ({**STANDIN, "pool": "yes"}, 422),
]


@pytest.mark.parametrize(("body", "status"), BAD, ids=[str(body)[:60] for body, _ in BAD])
async def test_a_bad_ask_is_refused_and_leaves_nothing(
    brain: httpx.AsyncClient, who: Somebody, body: dict[str, Any], status: int
) -> None:
    answer = await brain.post(URL, json=body, headers=who.headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert (await brain.get(URL, headers=who.headers)).json()["items"] == []


async def test_without_credit_it_is_402(brain: httpx.AsyncClient) -> None:
    poor = await signed_up(brain)
    answer = await deploy(brain, poor)
    assert (answer.status_code, answer.json()["code"]) == (402, "insufficient_quota")


async def test_a_name_is_taken_once(brain: httpx.AsyncClient, who: Somebody) -> None:
    first = (await deploy(brain, who)).json()
    again = await deploy(brain, who)
    assert (again.status_code, again.json()["code"]) == (409, "name_taken")
    assert first["deployment_id"] in again.json()["detail"]
    assert (await deploy(brain, who, {**STANDIN, "name": "another"})).status_code == 201


async def test_a_repeat_with_the_key_acts_once(brain: httpx.AsyncClient, who: Somebody) -> None:
    key = {"idempotency-key": "one"}
    first, again = await deploy(brain, who, **key), await deploy(brain, who, **key)
    assert (again.status_code, again.json()) == (201, first.json())
    other = await deploy(brain, who, {**STANDIN, "name": "b"}, **key)
    assert other.json()["code"] == "idempotency_key_reused"
    assert len((await brain.get(URL, headers=who.headers)).json()["items"]) == 1


PARTS = ["", "/events", "/why", "/logs", "/metrics"]


@pytest.mark.parametrize("part", PARTS)
async def test_anothers_deployment_is_not_there(
    brain: httpx.AsyncClient, who: Somebody, part: str
) -> None:
    made = (await deploy(brain, who)).json()["deployment_id"]
    stranger = await signed_up(brain)
    assert (await brain.get(f"{URL}/{made}{part}", headers=stranger.headers)).status_code == 404
    assert (await brain.get(f"{URL}/{made}{part}", headers=who.headers)).status_code == 200
    for verb in ("stop", "start"):
        answer = await brain.post(f"{URL}/{made}/{verb}", headers=stranger.headers)
        assert answer.status_code == 404
    assert (await brain.delete(f"{URL}/{made}", headers=stranger.headers)).status_code == 404


@pytest.mark.parametrize("wrong", ["7", "dep_7", "rep_" + "0" * 32, "x" * 101, "dep_" + "G" * 32])
async def test_what_is_no_id_is_said(brain: httpx.AsyncClient, who: Somebody, wrong: str) -> None:
    assert (await brain.get(f"{URL}/{wrong}", headers=who.headers)).status_code == 422


async def test_stop_start_and_delete(brain: httpx.AsyncClient, who: Somebody) -> None:
    made = f"{URL}/{(await deploy(brain, who)).json()['deployment_id']}"
    assert (await brain.delete(made, headers=who.headers)).status_code == 409
    for _ in range(2):
        stopped = await brain.post(f"{made}/stop", headers=who.headers)
        assert (stopped.status_code, stopped.json()["state"]) == (200, "stopped")
    scaled = await brain.post(f"{made}/scale", json={"replicas": 2}, headers=who.headers)
    assert scaled.status_code == 409
    started = await brain.post(f"{made}/start", headers=who.headers)
    assert started.json()["asked"] == "running"
    await brain.post(f"{made}/stop", headers=who.headers)
    assert (await brain.delete(made, headers=who.headers)).status_code == 204
    assert (await brain.get(made, headers=who.headers)).status_code == 404
    assert (await deploy(brain, who)).status_code == 201


@pytest.mark.parametrize("body", [{}, {"replicas": -1}, {"replicas": 65}, {"replicas": "1"}])
async def test_a_bad_scale_is_refused(
    brain: httpx.AsyncClient, who: Somebody, body: dict[str, Any]
) -> None:
    made = (await deploy(brain, who)).json()["deployment_id"]
    answer = await brain.post(f"{URL}/{made}/scale", json=body, headers=who.headers)
    assert answer.status_code == 422
    assert (await brain.get(f"{URL}/{made}", headers=who.headers)).json()["replicas"] == 1


async def test_lists_are_paged(brain: httpx.AsyncClient, who: Somebody) -> None:
    names = [f"made-{number}" for number in range(5)]
    for name in names:
        await deploy(brain, who, {**STANDIN, "name": name})
    seen, cursor = [], ""
    while cursor is not None:
        page = await brain.get(f"{URL}?limit=2{cursor}", headers=who.headers)
        seen += [item["name"] for item in page.json()["items"]]
        following = page.json()["next"]
        cursor = None if following is None else f"&cursor={following}"
    assert sorted(seen) == names


async def test_events_tell_the_story_in_pages(brain: httpx.AsyncClient, who: Somebody) -> None:
    made = f"{URL}/{(await deploy(brain, who)).json()['deployment_id']}"
    await brain.post(f"{made}/stop", headers=who.headers)
    first = (await brain.get(f"{made}/events?limit=1", headers=who.headers)).json()
    rest = await brain.get(f"{made}/events?cursor={first['next']}", headers=who.headers)
    told = [event["what"] for event in first["items"] + rest.json()["items"]]
    assert sorted(told) == ["created", "stop asked"]
    wrong = await brain.get(f"{made}/events?cursor=bm90", headers=who.headers)
    assert wrong.status_code == 422


@pytest.mark.feature("A20")
async def test_an_administrator_adds_a_model_to_the_pool(
    brain: httpx.AsyncClient, ctx: Ctx
) -> None:
    root = await admin(brain, ctx)
    made = (await deploy(brain, root, {**STANDIN, "pool": True})).json()
    assert (made["pool"], made["pool_price_usd_per_gpu_hour"]) == (True, "1.20")
    own = await brain.get(URL, headers=root.headers)
    assert own.json()["items"] == []
    pooled = await brain.get(f"{URL}?pool=true", headers=root.headers)
    assert [item["deployment_id"] for item in pooled.json()["items"]] == [made["deployment_id"]]
    stopped = await brain.post(f"{URL}/{made['deployment_id']}/stop", headers=root.headers)
    assert stopped.json()["asked"] == "stopped"


@pytest.mark.feature("D1")
async def test_the_catalog_lists_by_kind(brain: httpx.AsyncClient, who: Somebody) -> None:
    found = (await brain.get("/api/v1/catalog?kind=embedding", headers=who.headers)).json()
    assert {"BAAI/bge-large-en-v1.5", "ganglion/stand-in"} <= {i["id"] for i in found["items"]}
    assert all("embedding" in (item["kind"], *item["also"]) for item in found["items"])
    wrong = await brain.get("/api/v1/catalog?kind=telepathy", headers=who.headers)
    assert wrong.status_code == 422


@pytest.mark.feature("D2")
async def test_a_model_shows_its_sum(brain: httpx.AsyncClient, who: Somebody) -> None:
    path = "/api/v1/catalog/Qwen/Qwen2.5-0.5B-Instruct"
    found = (await brain.get(path, headers=who.headers)).json()
    need = found["needs"][0]
    assert sum(line["mib"] for line in need["lines"]) == need["per_gpu_mib"]
    assert (found["licence"], found["outcome"]) == ("Apache-2.0", "No node is enrolled.")
    more = (await brain.get(f"{path}?context=32768", headers=who.headers)).json()
    assert more["needs"][0]["per_gpu_mib"] > need["per_gpu_mib"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("nobody/nothing", 404), ("ganglion/stand-in?context=99999", 422), ("a?context=x", 422)],
)
async def test_a_bad_catalog_ask_is_refused(
    brain: httpx.AsyncClient, who: Somebody, path: str, status: int
) -> None:
    answer = await brain.get(f"/api/v1/catalog/{path}", headers=who.headers)
    assert answer.status_code == status


@pytest.mark.parametrize("query", ["tail=-1", "tail=1001", "tail=x", "replica=7"])
async def test_bad_log_asks_are_refused(
    brain: httpx.AsyncClient, who: Somebody, query: str
) -> None:
    made = (await deploy(brain, who)).json()["deployment_id"]
    answer = await brain.get(f"{URL}/{made}/logs?{query}", headers=who.headers)
    assert answer.status_code == 422
