"""One till for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from brain.plumbing import Ctx
from kernel.clock import ManualClock
from tests.support.payments import Till
from tests.support.payments import till as open_till


@pytest.fixture
async def till(ctx: Ctx, clock: ManualClock, database_url: str, seed: int) -> AsyncIterator[Till]:
    async with open_till(ctx, clock, database_url, seed) as opened:
        yield opened
