"""Idempotency-Key: one effect, one answer, also when both requests come at once."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from brain.edge import Attempt, Body, attempt, recall, remember
from brain.edge.idempotency import forget_old
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.errors import BadInput


class Order(Body):
    amount: int


def _try(amount: int = 1, key: str | None = "k", account: str = "acct_a") -> Attempt:
    return attempt(account, "order", key, Order(amount=amount))


async def _act(ctx: Ctx, tried: Attempt, *, fail: bool = False) -> str:
    """An effect with an answer that is new each time it really runs."""
    async with ctx.db.begin() as tx:
        earlier = await recall(tx, tried, at=ctx.clock.now())
        if earlier is not None:
            return str(earlier["made"])
        made = str(await tx.scalar(text("SELECT pg_current_xact_id()::text")))
        await asyncio.sleep(0)
        if fail:
            raise RuntimeError("died")
        await remember(tx, tried, {"made": made})
    return made


async def test_the_same_key_acts_once(ctx: Ctx) -> None:
    assert await _act(ctx, _try()) == await _act(ctx, _try())


async def test_ten_at_once_act_once(ctx: Ctx) -> None:
    assert len(set(await asyncio.gather(*(_act(ctx, _try()) for _ in range(10))))) == 1


async def test_other_accounts_keys_and_no_key_act_for_themselves(ctx: Ctx) -> None:
    tries = [_try(), _try(account="acct_b"), _try(key="k2"), _try(key=None), _try(key=None)]
    assert len({await _act(ctx, one) for one in tries}) == 5


async def test_the_same_key_with_another_body_is_refused(ctx: Ctx) -> None:
    await _act(ctx, _try(1))
    with pytest.raises(BadInput, match="another body"):
        await _act(ctx, _try(2))


async def test_a_failed_try_leaves_the_key_free(ctx: Ctx) -> None:
    with pytest.raises(RuntimeError):
        await _act(ctx, _try(), fail=True)
    assert await _act(ctx, _try())


async def test_keys_are_forgotten_after_a_day(ctx: Ctx, clock: ManualClock) -> None:
    first = await _act(ctx, _try())
    clock.advance(24 * 3600 + 1)
    async with ctx.db.begin() as tx:
        assert await forget_old(tx, now=clock.now()) == 1
    assert await _act(ctx, _try()) != first
