"""Registering and logging in through the API."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from brain.plumbing import Ctx
from kernel.clock import ManualClock
from tests.support.brain import PASSWORD, Somebody, admin, signed_up

pytestmark = pytest.mark.feature("I1")


async def test_a_new_user_registers_logs_in_and_is_known(brain: httpx.AsyncClient) -> None:
    who = await signed_up(brain, "Ada@Example.com")
    me = (await brain.get("/auth/me", headers=who.headers)).json()
    assert (me["email"], me["account_id"]) == ("ada@example.com", who.account_id)
