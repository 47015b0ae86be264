"""Whoever asks learns nothing about who is registered from the work that an answer takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import httpx
import pytest
from sqlalchemy import text

from brain.app import create_app
from brain.identity import Passwords
from brain.plumbing import Ctx
from brain.settings import Settings
from tests.support.brain import PASSWORD, running, signed_up

T = TypeVar("T")

pytestmark = pytest.mark.feature("I1")


class Counted(Passwords):
    """The real thing, counting how often argon2 runs: that is where the time of an answer goes."""

    runs = 0

    async def _run(self, work: Callable[[], T]) -> T:
        self.runs += 1
        return await super()._run(work)


@pytest.fixture
def counted() -> Counted:
    return Counted(time_cost=1, memory_kib=8)


@pytest.fixture
async def brain(settings: Settings, ctx: Ctx, counted: Counted) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(settings, ctx=ctx, passwords=counted)) as client:
        await signed_up(client, "known@example.com")
        await signed_up(client, "disabled@example.com")
        async with ctx.db.begin() as tx:
            disable = "UPDATE app_user SET disabled_at = now() WHERE email LIKE 'disabled%'"
            await tx.execute(text(disable))
        counted.runs = 0
        yield client


@pytest.mark.parametrize("email", ["known", "disabled", "unknown", "KNOWN"])
@pytest.mark.parametrize("password", [PASSWORD, "a wrong password"])
@pytest.mark.parametrize("path", ["/auth/login", "/auth/register"])
async def test_every_answer_takes_one_hash(
    brain: httpx.AsyncClient, counted: Counted, path: str, email: str, password: str
) -> None:
    body = {"email": f"{email}@example.com", "password": password}
    answer = await brain.post(path, json=body)
    assert counted.runs == 1
    assert answer.status_code in ({201} if path == "/auth/register" else {200, 401})
