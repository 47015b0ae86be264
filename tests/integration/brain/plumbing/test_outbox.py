"""Outbox and inbox: calls are made until they succeed, messages are handled once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from brain.plumbing import Ctx, inbox, outbox
from kernel.clock import ManualClock
from kernel.ids import WorkId


class Outside:
    """The other side: counts calls by their idempotency key, fails the first ``failures``."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.calls: list[tuple[WorkId, dict[str, Any]]] = []

    async def __call__(self, key: WorkId, payload: dict[str, Any]) -> None:
        self.calls.append((key, payload))
        if len(self.calls) <= self.failures:
            raise ConnectionError("away")


async def _send(ctx: Ctx) -> WorkId:
    async with ctx.db.begin() as tx:
        return outbox.send(tx, "mail", {"to": "a"}, at=ctx.clock.now(), ids=ctx.ids)


async def _deliver(ctx: Ctx, outside: Outside) -> int:
    return await outbox.deliver_due(ctx, {"mail": outside}, owner="w")


async def test_a_call_is_made_once_with_the_rows_id_as_its_key(ctx: Ctx) -> None:
    outside = Outside()
    key = await _send(ctx)
    assert [await _deliver(ctx, outside) for _ in range(2)] == [1, 0]
    assert outside.calls == [(key, {"to": "a"})]


async def test_a_call_of_a_transaction_that_failed_is_never_made(ctx: Ctx) -> None:
    async with ctx.db.begin() as tx:
        outbox.send(tx, "mail", {}, at=ctx.clock.now(), ids=ctx.ids)
        await tx.flush()
        await tx.rollback()
    assert await _deliver(ctx, Outside()) == 0


async def test_a_failed_call_is_repeated_with_the_same_key_more_and_more_slowly(
    ctx: Ctx, clock: ManualClock
) -> None:
    outside = Outside(failures=3)
    await _send(ctx)
    for wait in (0, 1, 2, 4):
        clock.advance(wait)
        await _deliver(ctx, outside)
        assert await _deliver(ctx, outside) == 0
    assert len(outside.calls) == 4
    assert len({key for key, _ in outside.calls}) == 1


async def test_other_topics_wait_for_their_deliverer(ctx: Ctx) -> None:
    await _send(ctx)
    assert await outbox.deliver_due(ctx, {"sms": Outside()}, owner="w") == 0
    assert await _deliver(ctx, Outside()) == 1


async def test_ten_deliverers_at_once_make_each_call_once(ctx: Ctx) -> None:
    outside = Outside()
    for _ in range(5):
        await _send(ctx)
    await asyncio.gather(*(_deliver(ctx, outside) for _ in range(10)))
    assert len(outside.calls) == len({key for key, _ in outside.calls}) == 5


async def _receive(ctx: Ctx, message: str, *, fail: bool = False) -> bool:
    async with ctx.db.begin() as tx:
        first = await inbox.first_time(tx, "vendor", message, at=ctx.clock.now())
        await asyncio.sleep(0)
        if fail:
            raise RuntimeError("died")
    return first


async def test_a_message_that_comes_twenty_times_is_handled_once(ctx: Ctx) -> None:
    handled = await asyncio.gather(*(_receive(ctx, "m1") for _ in range(20)))
    assert sum(handled) == 1
    assert await _receive(ctx, "m2")


async def test_a_message_whose_handling_failed_is_handled_again(ctx: Ctx) -> None:
    with pytest.raises(RuntimeError):
        await _receive(ctx, "m1", fail=True)
    assert await _receive(ctx, "m1")
