"""Changes over HTTP: what a patch takes, what it answers, whose deployments it changes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from brain.plumbing import Ctx
from kernel.ids import AccountId
from tests.support.brain import Somebody, api_key, signed_up
from tests.support.deployments import give

URL = "/api/v1/deployments"
pytestmark = pytest.mark.feature("D3")


class Mine:
    """One deployment of somebody's, over HTTP."""

    def __init__(self, brain: httpx.AsyncClient, who: Somebody) -> None:
        self.brain, self.who, self.url = brain, who, ""

    async def make(self) -> None:
        body = {"model": "ganglion/stand-in", "max_surge": 2, "secrets": ["HF_TOKEN"]}
        made = await self.brain.post(URL, json=body, headers=self.who.headers)
        assert made.status_code == 201, made.text
        self.url = f"{URL}/{made.json()['deployment_id']}"

    async def patch(self, body: Any, **headers: str) -> httpx.Response:
        return await self.brain.patch(self.url, json=body, headers=headers or self.who.headers)

    async def look(self, path: str = "") -> dict[str, Any]:
        found = await self.brain.get(f"{self.url}{path}", headers=self.who.headers)
        assert found.status_code == 200, found.text
        shown: dict[str, Any] = found.json()
        return shown


@pytest.fixture
async def mine(brain: httpx.AsyncClient, ctx: Ctx) -> Mine:
    who = await signed_up(brain)
    await give(ctx, AccountId(who.account_id))
    made = Mine(brain, who)
    await made.make()
    return made


async def test_a_patch_makes_a_revision_and_shows_it(mine: Mine) -> None:
    answer = await mine.patch({"context": 2048, "arguments": ["--first-token-ms=9"]})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["revision"], found["context"], found["secrets"]) == (2, 2048, ["HF_TOKEN"])
    assert found["rollout"]["state"] == "starting"
    listed = (await mine.look("/revisions"))["items"]
    assert [(one["revision"], one["current"], one["outcome"]) for one in listed] == [
        (2, True, None),
        (1, False, "superseded"),
    ]
    assert listed[1]["context"] == 4096


async def test_terms_hold_at_once_and_make_none(mine: Mine) -> None:
    answer = await mine.patch(
        {"replicas": 3, "idle_stop_seconds": 600, "max_unavailable": 1, "budget_usd": "5"}
    )
    found = answer.json()
    assert (found["revision"], found["replicas"], found["idle_stop_seconds"]) == (1, 3, 600)
    taken_back = (await mine.patch({"idle_stop_seconds": None})).json()
    assert taken_back["idle_stop_seconds"] is None


BAD: list[Any] = [
    {},
    [],
    {"colour": "red"},
    {"context": 0},
    {"context": "2048"},
    {"model": None},
    {"model": "nobody/nothing"},
    {"replicas": None},
    {"replicas": 65},
    {"max_surge": 17},
    {"max_surge": 0, "max_unavailable": 0},
    {"secrets": None},
    {"secrets": ["no-dashes"]},
    {"secrets": ["LD_PRELOAD"]},
    {"secrets": [f"S{n}" for n in range(33)]},
    {"arguments": ["--model=/etc"]},
    {"arguments": ["--seed"] * 33},
    {"max_price_usd_per_gpu_hour": "0"},
    {"drain_seconds": 0},
    {"rollout_deadline_seconds": 5},
    {"min_reliability_percent": 101},
    {"name": "another"},
]


@pytest.mark.parametrize("body", BAD, ids=[str(body)[:50] for body in BAD])
async def test_a_bad_patch_is_refused_and_changes_nothing(mine: Mine, body: Any) -> None:
    before = await mine.look()
    assert (await mine.patch(body)).status_code in (404, 422)
    assert await mine.look() == before


async def test_nothing_to_go_back_to_is_a_conflict(mine: Mine) -> None:
    headers = mine.who.headers
    for body, status in (({}, 409), ({"revision": 9}, 404), ({"revision": 0}, 422)):
        answer = await mine.brain.post(f"{mine.url}/rollback", json=body, headers=headers)
        assert answer.status_code == status, answer.text


async def test_it_is_its_owners_to_change(mine: Mine) -> None:
    other = await signed_up(mine.brain)
    body = {"context": 2048}
    assert (await mine.patch(body, **other.headers)).status_code == 404
    assert (await mine.brain.patch(mine.url, json=body)).status_code == 401
    reader = {"authorization": f"Bearer {await api_key(mine.brain, mine.who, 'read')}"}
    assert (await mine.patch(body, **reader)).status_code == 403
    hidden = await mine.brain.get(f"{mine.url}/revisions", headers=other.headers)
    assert hidden.status_code == 404


async def test_revisions_are_paged_the_newest_first(mine: Mine) -> None:
    for context in (1001, 1002, 1003):
        await mine.patch({"context": context})
    first = await mine.look("/revisions?limit=3")
    rest = await mine.look(f"/revisions?limit=3&cursor={first['next']}")
    assert [one["revision"] for one in [*first["items"], *rest["items"]]] == [4, 3, 2, 1]
