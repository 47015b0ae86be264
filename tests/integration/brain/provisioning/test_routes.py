"""Money at risk for administrators, the freeze by hand, and the agent's code for machines."""

from __future__ import annotations

import hashlib

import httpx
import pytest

from brain.plumbing import Ctx
from brain.provisioning import agent_code, store
from tests.support.brain import admin, signed_up


async def an_account(ctx: Ctx, cloud: str = "runpod") -> None:
    async with ctx.db.begin() as tx:
        await store.account(tx, cloud, ctx.clock.now_ns())


@pytest.mark.feature("B7")
async def test_an_administrator_freezes_and_unfreezes_a_cloud(
    brain: httpx.AsyncClient, ctx: Ctx
) -> None:
    await an_account(ctx)
    root = await admin(brain, ctx)
    path = "/api/v1/admin/clouds/runpod"
    frozen = await brain.post(f"{path}/freeze", json={"reason": "moving"}, headers=root.headers)
    assert (frozen.json()["frozen"], frozen.json()["frozen_reason"]) == (True, "moving")
    told = (await brain.get("/api/v1/admin/clouds", headers=root.headers)).json()
    assert [alert["kind"] for alert in told["alerts"]] == ["frozen"]
    thawed = await brain.post(f"{path}/unfreeze", headers=root.headers)
    assert (thawed.status_code, thawed.json()["frozen"]) == (200, False)
    told = (await brain.get("/api/v1/admin/clouds", headers=root.headers)).json()
    assert (told["alerts"], told["cost_so_far_nano"]) == ([], 0)


async def test_nobody_else_sees_or_changes_it(brain: httpx.AsyncClient, ctx: Ctx) -> None:
    await an_account(ctx)
    someone = await signed_up(brain)
    for method, path in (("GET", ""), ("POST", "/runpod/unfreeze")):
        answer = await brain.request(method, f"/api/v1/admin/clouds{path}", headers=someone.headers)
        assert answer.status_code == 403


async def test_a_cloud_that_was_never_used_is_not_there(brain: httpx.AsyncClient, ctx: Ctx) -> None:
    root = await admin(brain, ctx)
    answer = await brain.post("/api/v1/admin/clouds/nowhere/unfreeze", headers=root.headers)
    assert answer.status_code == 404


async def test_the_agents_code_is_what_its_digest_says(brain: httpx.AsyncClient) -> None:
    answer = await brain.get("/agent/code")
    assert hashlib.sha256(answer.content).hexdigest() == agent_code().sha256
    again = await brain.get("/agent/code", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
