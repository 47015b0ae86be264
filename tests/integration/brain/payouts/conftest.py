"""One provider on the API, paid through MoMo's sandbox."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from brain.plumbing import Ctx
from kernel.clock import ManualClock
from tests.support.payouts import Provider, provider_on


@pytest.fixture
async def provider(
    app: FastAPI, brain: httpx.AsyncClient, ctx: Ctx, clock: ManualClock, seed: int
) -> Provider:
    return await provider_on(app, brain, ctx, clock, seed)
