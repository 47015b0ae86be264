"""Brings top-ups and refunds to where their processors have them, from the rows alone.

Safe to run many times at once; a tick, a hint or a waiting person only wakes it. No transaction is
open while a processor is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

from brain.payments import core, refunds, turn
from brain.payments.desk import Desk
from brain.payments.models import TopUp, TopUpReversal
from brain.payments.turn import Stale, Turn, log
from brain.plumbing import Ctx, Tx, Work, work
from kernel.errors import Conflict
from kernel.ids import RefundId, TopUpId, WorkId

AT_ONCE = 8
HOLD_SECONDS = 180  # longer than the calls of one step; then the row is another's
ROUNDS_MAX = 20
FAULT_SECONDS = 5


async def reconcile_payments(
    ctx: Ctx, desk: Desk, *, owner: str = "", halt: Callable[[], bool] = lambda: False
) -> int:
    """Step what is due; return how many steps were made."""
    made = 0
    for _ in range(ROUNDS_MAX):
        if halt():
            break
        steps = await _batch(ctx, desk, owner)
        made += steps
        if not steps:
            break
    return made


async def step_now(ctx: Ctx, desk: Desk, topup_id: TopUpId, *, owner: str = "web") -> None:
    """Step this one while a person waits, if nobody has it. Failures are the reconciler's to mend;
    nothing is raised. What a person wrote down is due a little later, so that the reconciler does
    not take it from under who waits."""
    await _taken(ctx, desk, TopUp, owner, [TopUp.topup_id == topup_id], core.HEAD_START)


async def refund_now(ctx: Ctx, desk: Desk, refund_id: RefundId, *, owner: str = "web") -> None:
    """The same for a refund."""
    where = [TopUpReversal.refund_id == refund_id]
    await _taken(ctx, desk, TopUpReversal, owner, where, core.HEAD_START)


async def _batch(ctx: Ctx, desk: Desk, owner: str) -> int:
    topups = await _taken(ctx, desk, TopUp, owner)
    return topups + await _taken(ctx, desk, TopUpReversal, owner)


async def _taken(
    ctx: Ctx,
    desk: Desk,
    model: type[TopUp] | type[TopUpReversal],
    owner: str,
    where: Sequence[Any] = (),
    early: timedelta = timedelta(0),
) -> int:
    token = str(ctx.ids.new(WorkId))
    async with ctx.db.begin() as tx:
        rows: Sequence[Work] = await work.take(
            tx,
            model,
            now=ctx.clock.now(),
            owner=owner,
            token=token,
            lease_seconds=HOLD_SECONDS,
            limit=AT_ONCE,
            where=where,
            early=early,
        )
    await ctx.reach("payments.taken")
    on = Turn(ctx, desk)
    await asyncio.gather(*(_guarded(ctx, row, token, _step_of(on, row, token)) for row in rows))
    return len(rows)


def _step_of(on: Turn, taken: Work, token: str) -> Awaitable[None]:
    async def saved(tx: Tx, row: Work, seconds: float | None) -> None:
        due = None if seconds is None else on.ctx.clock.now() + timedelta(seconds=seconds)
        await tx.flush()
        if not await work.finish(tx, row, token, due_at=due):
            raise Stale

    if isinstance(taken, TopUp):
        return turn.step(on, taken.topup_id, saved)
    assert isinstance(taken, TopUpReversal), "no other rows are taken here"
    return refunds.step(on, taken.refund_id, saved)


async def _guarded(ctx: Ctx, row: Work, token: str, step: Awaitable[None]) -> None:
    """One step whose failure touches no other row: it is logged, and the row is due again."""
    name = row.topup_id if isinstance(row, TopUp) else getattr(row, "refund_id", "")
    try:
        await step
        return
    except Stale:
        log.info("payment_step_was_late", row=name)
        return
    except Conflict as raced:
        log.info("payment_step_raced", row=name, detail=raced.detail)
    except Exception as failure:  # whatever it is, the other rows go on
        log.error("payment_step_failed", row=name, failure=type(failure).__name__, exc_info=failure)
    await _again(ctx, row, token)


async def _again(ctx: Ctx, row: Work, token: str) -> None:
    """Let go of a row whose step failed. Should this fail too, its hold runs out."""
    due = ctx.clock.now() + timedelta(seconds=FAULT_SECONDS)
    try:
        async with ctx.db.begin() as tx:
            await work.finish(tx, row, token, due_at=due)
    except Exception as failure:  # the database is away: the hold runs out by itself
        log.warning("payment_not_released", failure=type(failure).__name__)
