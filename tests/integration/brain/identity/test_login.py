"""Registering and logging in through the API."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from brain.identity import account_by_email
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from tests.support.brain import PASSWORD, admin, signed_up

pytestmark = pytest.mark.feature("I1")


async def test_a_new_user_registers_logs_in_and_is_known(brain: httpx.AsyncClient) -> None:
    who = await signed_up(brain, "Ada@Example.com")
    me = (await brain.get("/auth/me", headers=who.headers)).json()
    assert (me["email"], me["account_id"]) == ("ada@example.com", who.account_id)


async def test_an_address_is_the_same_in_any_spelling(brain: httpx.AsyncClient) -> None:
    await signed_up(brain, "ada@example.com")
    body = {"email": "ADA@EXAMPLE.COM", "password": PASSWORD}
    assert (await brain.post("/auth/login", json=body)).status_code == 200


async def test_a_taken_address_answers_like_a_free_one(brain: httpx.AsyncClient) -> None:
    await signed_up(brain, "ada@example.com")
    bodies = [
        {"email": email, "password": "some other password"}
        for email in ("ada@example.com", "new@example.com")
    ]
    taken, free = [await brain.post("/auth/register", json=body) for body in bodies]
    assert taken.status_code == free.status_code == 201
    assert [len(value) for value in taken.json().values()] == [
        len(value) for value in free.json().values()
    ]


async def test_a_taken_address_keeps_its_password(brain: httpx.AsyncClient) -> None:
    await signed_up(brain, "ada@example.com")
    body = {"email": "ada@example.com", "password": "some other password"}
    await brain.post("/auth/register", json=body)
    assert (await brain.post("/auth/login", json=body)).status_code == 401


async def test_registering_again_with_the_same_password_is_a_repeat(
    brain: httpx.AsyncClient,
) -> None:
    who = await signed_up(brain, "ada@example.com")
    again = await brain.post(
        "/auth/register", json={"email": "ada@example.com", "password": PASSWORD}
    )
    assert again.json()["account_id"] == who.account_id


async def test_ten_registrations_at_once_make_one_account(
    brain: httpx.AsyncClient, ctx: Ctx
) -> None:
    body = {"email": "race@example.com", "password": PASSWORD}
    answers = await asyncio.gather(*(brain.post("/auth/register", json=body) for _ in range(10)))
    async with ctx.db.begin() as tx:
        account = await account_by_email(tx, "race@example.com")
    assert {answer.json()["account_id"] for answer in answers} == {account}


async def test_wrong_password_and_unknown_user_get_one_answer(brain: httpx.AsyncClient) -> None:
    await signed_up(brain, "ada@example.com")
    seen = []
    for email in ("ada@example.com", "nobody@example.com", "not an address"):
        body = {"email": email, "password": "wrong"}
        answer = await brain.post("/auth/login", json=body)
        seen.append((answer.status_code, answer.json()["detail"]))
    assert set(seen) == {(401, "The e-mail or the password is wrong.")}


async def test_the_access_token_ends_with_its_time(
    brain: httpx.AsyncClient, clock: ManualClock
) -> None:
    who = await signed_up(brain)
    clock.advance(3600)
    answer = await brain.get("/auth/me", headers=who.headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_expired")


async def test_a_disabled_user_is_out_at_once(brain: httpx.AsyncClient, ctx: Ctx) -> None:
    who = await signed_up(brain)
    async with ctx.db.begin() as tx:
        from sqlalchemy import text

        await tx.execute(text("UPDATE app_user SET disabled_at = now()"))
    assert (await brain.get("/auth/me", headers=who.headers)).status_code == 401
    login = {"email": who.email, "password": PASSWORD}
    assert (await brain.post("/auth/login", json=login)).status_code == 401


async def test_ensure_admin_makes_one_and_promotes_another(
    brain: httpx.AsyncClient, ctx: Ctx
) -> None:
    ada = await signed_up(brain, "ada@example.com")
    for email in ("root@example.com", "ada@example.com"):
        who = await admin(brain, ctx, email)
        me = await brain.get("/auth/me", headers=who.headers)
        assert me.json()["roles"] == ["admin"]
    assert who.account_id == ada.account_id
