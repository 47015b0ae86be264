"""One till for each test, or wallets in its place."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from brain.plumbing import Ctx
from kernel.clock import ManualClock
from tests.support.payments import Till
from tests.support.payments import till as open_till
from tests.support.wallets import Wallets, wallets_on


@pytest.fixture
async def till(ctx: Ctx, clock: ManualClock, database_url: str, seed: int) -> AsyncIterator[Till]:
    async with open_till(ctx, clock, database_url, seed) as opened:
        yield opened


@pytest.fixture
async def wallets(
    app: FastAPI, brain: httpx.AsyncClient, ctx: Ctx, clock: ManualClock, seed: int
) -> AsyncIterator[Wallets]:
    async with wallets_on(app, brain, ctx, clock, seed) as opened:
        yield opened
