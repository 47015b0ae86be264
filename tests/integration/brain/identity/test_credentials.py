"""Which credential opens which door, over routes of our own making and the real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import jwt
import pytest
from fastapi import APIRouter, Depends, FastAPI

from brain.identity import Principal, account_user, admin_user, anyone, service_key
from brain.plumbing import Ctx
from brain.settings import Settings
from kernel.clock import ManualClock
from tests.support.brain import GATEWAY_TOKEN, Somebody, admin, api_key, running, signed_up

pytestmark = pytest.mark.feature("I2", "I3")

doors = APIRouter()


@doors.get("/door/user")
async def _user(who: Annotated[Principal, Depends(account_user)]) -> str:
    return who.actor


@doors.get("/door/admin")
async def _admin(who: Annotated[Principal, Depends(admin_user)]) -> str:
    return who.actor


@doors.get("/door/key")
async def _key(who: Annotated[Principal, Depends(service_key("inference"))]) -> str:
    return who.actor


@doors.get("/door/anyone")
async def _anyone(who: Annotated[Principal, Depends(anyone("read"))]) -> str:
    return who.actor


@pytest.fixture
async def brain(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    app.include_router(doors)
    async with running(app) as client:
        yield client


async def _try(brain: httpx.AsyncClient, door: str, credential: str | None) -> int:
    headers = {} if credential is None else {"authorization": f"Bearer {credential}".encode()}
    answer = await brain.get(f"/door/{door}", headers=headers)
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    return answer.status_code


@pytest.mark.parametrize(
    ("door", "user", "root", "reader", "caller"),
    [
        ("user", 200, 200, 401, 401),
        ("admin", 403, 200, 401, 401),
        ("key", 401, 401, 403, 200),
        ("anyone", 200, 200, 200, 403),
    ],
)
async def test_each_door_opens_to_its_credential(
    brain: httpx.AsyncClient, ctx: Ctx, door: str, user: int, root: int, reader: int, caller: int
) -> None:
    who = await signed_up(brain)
    credentials = [
        who.token,
        (await admin(brain, ctx)).token,
        await api_key(brain, who, "read"),
        await api_key(brain, who, "inference"),
    ]
    assert [await _try(brain, door, one) for one in credentials] == [user, root, reader, caller]


@pytest.mark.parametrize("door", ["user", "admin", "key", "anyone"])
async def test_no_door_opens_to_nonsense(
    brain: httpx.AsyncClient, settings: Settings, clock: ManualClock, door: str
) -> None:
    who = await signed_up(brain)
    nonsense = [
        None,
        "",
        "x",
        "gk_",
        "gk_" + "A" * 43,
        "a.b.c",
        who.token[:-2],
        who.token + "x",
        "é" * 50,
        "gk_" + "x" * 9000,
        "a." * 9000,
        GATEWAY_TOKEN,
        *_forged(who, settings, clock),
    ]
    for one in nonsense:
        assert await _try(brain, door, one) == 401, one


def _forged(who: Somebody, settings: Settings, clock: ManualClock) -> list[str]:
    secret = settings.jwt_secret_key.get_secret_value()
    good = jwt.decode(who.token, options={"verify_signature": False})
    now = clock.now_ns() // 10**9
    return [
        jwt.encode(good, None, algorithm="none"),
        jwt.encode(good, "k" * 64, algorithm="HS256"),
        jwt.encode(good, secret, algorithm="HS512"),
        jwt.encode({**good, "exp": now}, secret, algorithm="HS256"),
        jwt.encode({**good, "iat": now + 3600}, secret, algorithm="HS256"),
        jwt.encode({**good, "iss": "someone"}, secret, algorithm="HS256"),
        jwt.encode({**good, "sub": "user_1"}, secret, algorithm="HS256"),
        jwt.encode({**good, "exp": "soon"}, secret, algorithm="HS256"),
        jwt.encode({k: v for k, v in good.items() if k != "exp"}, secret, algorithm="HS256"),
    ]


async def test_a_revoked_key_is_refused_at_once_and_works_again_when_activated(
    brain: httpx.AsyncClient,
) -> None:
    who = await signed_up(brain)
    secret = await api_key(brain, who, "inference")
    [shown] = (await brain.get("/api/v1/keys", headers=who.headers)).json()["items"]
    path = f"/api/v1/keys/{shown['key_id']}"
    await brain.delete(path, headers=who.headers)
    assert await _try(brain, "key", secret) == 401
    await brain.post(f"{path}/activate", headers=who.headers)
    assert await _try(brain, "key", secret) == 200


async def test_a_key_ends_with_its_time(brain: httpx.AsyncClient, clock: ManualClock) -> None:
    who = await signed_up(brain)
    body = {"name": "short", "expires_in_days": 1}
    made = await brain.post("/api/v1/keys", json=body, headers=who.headers)
    clock.advance(86_399)
    assert await _try(brain, "key", made.json()["key"]) == 200
    clock.advance(1)
    assert await _try(brain, "key", made.json()["key"]) == 401
