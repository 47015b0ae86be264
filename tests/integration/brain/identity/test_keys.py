"""API keys through the API: made, shown once, listed, revoked, activated again."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import datetime

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from brain.identity import all_key_rows, key_row
from brain.plumbing import Ctx, changes
from brain.sources import Limits, sources
from kernel.clock import NS, ManualClock
from kernel.ids import KeyId
from kernel.wire.gateway import AccountRow, KeyRow
from tests.support.brain import Somebody, api_key, signed_up

pytestmark = pytest.mark.feature("I3")


async def _make(brain: httpx.AsyncClient, who: Somebody, **fields: object) -> httpx.Response:
    return await brain.post("/api/v1/keys", json={"name": "k", **fields}, headers=who.headers)


async def test_a_key_is_shown_once_and_kept_as_a_digest(brain: httpx.AsyncClient, ctx: Ctx) -> None:
    who = await signed_up(brain)
    made = (await _make(brain, who)).json()
    listed = (await brain.get("/api/v1/keys", headers=who.headers)).json()["items"]
    assert len(made["key"]) == 46
    assert made["key"].startswith(made["prefix"])
    assert listed == [{name: value for name, value in made.items() if name != "key"}]
    async with ctx.db.begin() as tx:
        row = await key_row(tx, KeyId(made["key_id"]))
    assert row is not None
    assert row.digest == hashlib.sha256(made["key"].encode()).hexdigest()


async def test_the_secret_is_nowhere_in_the_database(brain: httpx.AsyncClient, ctx: Ctx) -> None:
    who = await signed_up(brain)
    secret = (await _make(brain, who)).json()["key"]
    async with ctx.db.begin() as tx:
        tables = await tx.scalars(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema='public'")
        )
        for table in tables.all():
            found = await tx.scalar(
                text(f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE :s'),
                {"s": f"%{secret}%"},
            )
            assert found == 0, table


async def test_what_gateways_are_told_of_a_key(
    brain: httpx.AsyncClient, ctx: Ctx, clock: ManualClock
) -> None:
    who = await signed_up(brain)
    fields = {"scopes": ["inference"], "models": ["m"], "cost_limit_usd": "0.05"}
    await _make(brain, who, expires_in_days=1, **fields)
    async with ctx.db.begin() as tx:
        [row] = await all_key_rows(tx)
    assert (row.account_id, row.scopes, row.models) == (who.account_id, ["inference"], ["m"])
    assert row.cost_limit_nano == 50_000_000
    assert row.expires_at_ns == clock.now_ns() + 86_400 * NS


async def test_revoking_and_activating_mark_the_change(brain: httpx.AsyncClient, ctx: Ctx) -> None:
    who = await signed_up(brain)
    key_id = (await _make(brain, who)).json()["key_id"]
    path = f"/api/v1/keys/{key_id}"
    for call, known in (
        (brain.delete(path, headers=who.headers), False),
        (brain.post(f"{path}/activate", headers=who.headers), True),
    ):
        async with ctx.db.begin() as tx:
            cursor = (await changes.marks_since(tx, 0)).cursor
        await call
        async with ctx.db.begin() as tx:
            assert ("key", key_id) in (await changes.marks_since(tx, cursor)).changed
            assert (await key_row(tx, KeyId(key_id)) is not None) == known


async def test_revoking_twice_is_harmless(brain: httpx.AsyncClient) -> None:
    who = await signed_up(brain)
    path = f"/api/v1/keys/{(await _make(brain, who)).json()['key_id']}"
    for _ in range(2):
        assert (await brain.delete(path, headers=who.headers)).status_code == 204


async def test_another_accounts_key_is_not_there(brain: httpx.AsyncClient) -> None:
    owner, stranger = await signed_up(brain), await signed_up(brain)
    key_id = (await _make(brain, owner)).json()["key_id"]
    for method, path in (("DELETE", ""), ("POST", "/activate")):
        answer = await brain.request(
            method, f"/api/v1/keys/{key_id}{path}", headers=stranger.headers
        )
        assert answer.status_code == 404
    assert (await brain.get("/api/v1/keys", headers=stranger.headers)).json()["items"] == []


async def test_keys_are_listed_newest_first_in_pages(
    brain: httpx.AsyncClient, clock: ManualClock
) -> None:
    who = await signed_up(brain)
    for number in range(5):
        clock.advance(1)
        await _make(brain, who, name=f"key {number}")
    names, cursor = [], ""
    while cursor is not None:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await brain.get("/api/v1/keys", params=params, headers=who.headers)).json()
        names += [item["name"] for item in page["items"]]
        cursor = page["next"]
    assert names == [f"key {number}" for number in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 101),
        ("name", "two\nlines"),
        ("name", 7),
        ("scopes", []),
        ("scopes", ["root"]),
        ("scopes", "inference"),
        ("expires_in_days", 0),
        ("expires_in_days", 3651),
        ("expires_in_days", "1 day"),
        ("models", []),
        ("models", ["bad name!"]),
        ("models", ["m"] * 101),
        ("cost_limit_usd", "-1"),
        ("cost_limit_usd", "NaN"),
        ("cost_limit_usd", "$5"),
        ("cost_limit_usd", "0.0000000001"),
        ("unknown", 1),
    ],
)
async def test_a_bad_field_is_named(brain: httpx.AsyncClient, field: str, value: object) -> None:
    who = await signed_up(brain)
    answer = await _make(brain, who, **{field: value})
    assert answer.status_code == 422
    assert answer.json()["param"].split(".")[0] == field
    assert (await brain.get("/api/v1/keys", headers=who.headers)).json()["items"] == []


@pytest.mark.feature("G4")
async def test_a_key_needs_purchased_credit(app: FastAPI, brain: httpx.AsyncClient) -> None:
    who = await signed_up(brain)
    app.state.identity = _with_gate(app, bought=4999)
    refused = await _make(brain, who)
    assert (refused.status_code, refused.json()["code"]) == (402, "insufficient_quota")
    app.state.identity = _with_gate(app, bought=5000)
    assert (await _make(brain, who)).status_code == 201


def _with_gate(app: FastAPI, *, bought: int) -> object:
    from dataclasses import replace

    class Gate:
        async def purchased_credits(self, tx: object, account_id: object) -> int:
            return bought

    return replace(app.state.identity, gate=Gate(), credits_for_key_min=5000)


async def test_the_last_use_of_a_key_is_shown(brain: httpx.AsyncClient, clock: ManualClock) -> None:
    who = await signed_up(brain)
    secret = await api_key(brain, who, "read")
    clock.advance(5)
    await brain.get("/api/v1/deployments", headers={"authorization": f"Bearer {secret}"})
    [shown] = (await brain.get("/api/v1/keys", headers=who.headers)).json()["items"]
    assert datetime.fromisoformat(shown["last_used_at"]) == clock.now()


async def test_a_repeat_makes_no_second_key(brain: httpx.AsyncClient) -> None:
    who = await signed_up(brain)
    headers = {**who.headers, "idempotency-key": "once"}
    asked = [brain.post("/api/v1/keys", json={"name": "k"}, headers=headers) for _ in range(5)]
    answers = sorted(await asyncio.gather(*asked), key=lambda answer: answer.status_code)
    assert [answer.status_code for answer in answers] == [201, 409, 409, 409, 409]
    assert {answer.json()["key_id"] for answer in answers} == {answers[0].json()["key_id"]}
    assert len((await brain.get("/api/v1/keys", headers=who.headers)).json()["items"]) == 1


@pytest.mark.feature("A14")
async def test_a_key_s_own_limits_reach_gateways(brain: httpx.AsyncClient, ctx: Ctx) -> None:
    who = await signed_up(brain)
    own = {"requests_per_minute": 7, "tokens_per_minute": 900, "requests_at_once": 2}
    made = (await _make(brain, who, **own)).json()
    assert {name: made[name] for name in own} == own
    async with ctx.db.begin() as tx:
        row = await sources(b"", Limits(key_requests_per_minute=100))["key"].one(tx, made["key_id"])
    assert isinstance(row, KeyRow)
    assert {name: getattr(row, name) for name in own} == own


@pytest.mark.feature("A14", "O10")
async def test_a_key_without_a_limit_has_the_installation_s(
    brain: httpx.AsyncClient, ctx: Ctx
) -> None:
    who = await signed_up(brain)
    made = (await _make(brain, who)).json()
    told = sources(b"", Limits(key_requests_per_minute=100, tokens_per_minute=5))
    async with ctx.db.begin() as tx:
        (row,) = await told["key"].all(tx)
        account = await told["account"].one(tx, who.account_id)
    assert made["requests_per_minute"] is None
    assert isinstance(row, KeyRow)
    assert row.requests_per_minute == 100
    assert isinstance(account, AccountRow)
    assert account.tokens_per_minute == 5


@pytest.mark.feature("A14")
@pytest.mark.parametrize("limit", [0, -1, 1_000_001, "7", 1.5])
async def test_a_limit_that_a_key_may_not_have_is_refused(
    brain: httpx.AsyncClient, limit: object
) -> None:
    who = await signed_up(brain)
    assert (await _make(brain, who, requests_per_minute=limit)).status_code == 422
