"""Brings payouts to their end from the rows alone. Safe to run many times at once; no transaction
is open while a processor is called, and what it is called for is written down before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from brain.payouts import core, store
from brain.payouts.core import Facts, Step
from brain.payouts.models import Payout
from brain.payouts.ports import (
    Declined,
    Disburser,
    NotNow,
    PayoutOrder,
    Sight,
    Unsure,
)
from brain.payouts.service import PayoutTerms, settle
from brain.payouts.states import UNDER_WAY, PayoutEvent, PayoutState
from brain.plumbing import Ctx, Tx, work
from kernel.errors import Conflict
from kernel.ids import PayoutId, WorkId

AT_ONCE = 8
HOLD_SECONDS = 180  # longer than a look and a call; then the row is another's
CALL_SECONDS_MAX = 60
OFF_SECONDS = 600  # how often a payout is looked at whose method is switched off
ROUNDS_MAX = 60

log = structlog.get_logger(__name__)


class _Stale(Exception):
    """Another worker holds the row by now: roll back and forget."""


async def reconcile_payouts(
    ctx: Ctx, terms: PayoutTerms, *, owner: str = "", halt: Callable[[], bool] = lambda: False
) -> int:
    """Step every payout that is due; returns how many steps were made."""
    steps = 0
    for _ in range(ROUNDS_MAX):
        if halt():
            break
        token = str(ctx.ids.new(WorkId))
        async with ctx.db.begin() as tx:
            rows = await work.take(
                tx,
                Payout,
                now=ctx.clock.now(),
                owner=owner,
                token=token,
                lease_seconds=HOLD_SECONDS,
                limit=AT_ONCE,
            )
        await ctx.reach("payouts.taken")
        await asyncio.gather(*(_guarded(ctx, terms, row, token) for row in rows))
        steps += len(rows)
        if len(rows) < AT_ONCE:
            break
    return steps


async def _guarded(ctx: Ctx, terms: PayoutTerms, row: Payout, token: str) -> None:
    """One payout's step, whose failure touches no other. A row that is not let go of is due again
    when its hold runs out."""
    try:
        await _step(ctx, terms, row, token)
    except _Stale:
        log.info("payout_step_was_late", payout_id=row.payout_id)
    except Conflict as raced:
        log.info("payout_step_raced", payout_id=row.payout_id, detail=raced.detail)
    except Exception as failure:  # whatever it is, the other payouts go on
        log.error("payout_step_failed", payout_id=row.payout_id, exc_info=failure)


async def _step(ctx: Ctx, terms: PayoutTerms, row: Payout, token: str) -> None:
    if PayoutState(row.state) not in UNDER_WAY:
        await _keep(ctx, row.payout_id, token, Step())
        return
    disburser = terms.disbursers.pay.get(row.method)
    if disburser is None:
        said = f"{row.method} is switched off; its payouts wait"
        log.warning("payout_waits", payout_id=row.payout_id, why=said)
        await _keep(ctx, row.payout_id, token, Step(reason=said, again_seconds=OFF_SECONDS))
        return
    if row.calls == 0 and row.state in (PayoutState.ASKED, PayoutState.SUBMITTING):
        await _pay(ctx, disburser, row, token)
        return
    facts, order = _facts(row, ctx.clock.now()), order_of(row)
    try:
        sight = await _bounded(disburser.look(order))
    except (NotNow, Unsure, Declined) as wrong:
        _note(row, "look", wrong)
        await _keep(ctx, row.payout_id, token, core.silent(facts, wrong.detail))
        return
    step = core.judge(facts, sight, order, disburser.repeat_seconds)
    if step.pay:
        await _pay(ctx, disburser, row, token)
        return
    await _keep(ctx, row.payout_id, token, step, sight)


async def _pay(ctx: Ctx, disburser: Disburser, row: Payout, token: str) -> None:
    """Write down that the processor is called, then call it."""
    async with ctx.db.begin() as tx:
        mine = await _own(tx, row.payout_id, token)
        if mine.state == PayoutState.ASKED.value:
            await settle(tx, ctx, mine, PayoutEvent.SUBMIT, "the processor is called")
        mine.calls += 1
        mine.called_at = mine.called_at or ctx.clock.now()
        await tx.flush()
        facts, order = _facts(mine, ctx.clock.now()), order_of(mine)
    await ctx.reach("payouts.submitting")
    try:
        sight = await _bounded(disburser.pay(order))
    except Declined as no:
        _note(row, "pay", no)
        step = core.declined(facts, no.detail)
        await _keep(ctx, row.payout_id, token, step)
        return
    except NotNow as later:
        _note(row, "pay", later)
        await _keep(ctx, row.payout_id, token, core.silent(facts, later.detail), undone=True)
        return
    except Unsure as unsure:
        _note(row, "pay", unsure)
        await _keep(ctx, row.payout_id, token, core.silent(facts, unsure.detail))
        return
    await ctx.reach("payouts.called")
    step = core.judge(facts, sight, order, disburser.repeat_seconds)
    if step.pay:  # its own answer was that it has nothing: look again before any repeat
        step = core.silent(facts, "The processor took it and does not show it.")
    await _keep(ctx, row.payout_id, token, step, sight)


async def _keep(
    ctx: Ctx,
    id: PayoutId,
    token: str,
    step: Step,
    sight: Sight | None = None,
    *,
    undone: bool = False,
) -> None:
    """Move the payout and its money, and say when it is due next, in one transaction. ``undone``:
    the newest call did nothing."""
    async with ctx.db.begin() as tx:
        row = await _own(tx, id, token)
        if sight is not None:
            row.reference = sight.reference or row.reference
            row.seen_minor = row.seen_minor if sight.amount_minor is None else sight.amount_minor
            row.seen_currency = sight.currency or row.seen_currency
        if undone:
            row.calls -= 1
            row.called_at = None if row.calls == 0 else row.called_at
        row.looks += 1
        if step.event is not None:
            await settle(tx, ctx, row, step.event, step.reason)
        await tx.flush()
        again = step.again_seconds
        due = None if again is None else ctx.clock.now() + timedelta(seconds=again)
        if not await work.finish(tx, row, token, due_at=due):
            raise _Stale
    if step.event is PayoutEvent.LOSE:
        log.error("payout_unknown", payout_id=id, reason=step.reason)
    elif step.event is not None:
        log.info("payout_moved", payout_id=id, move=step.event.value, reason=step.reason)


async def _own(tx: Tx, id: PayoutId, token: str) -> Payout:
    """The row, if it is still held under this token."""
    row = await store.get(tx, id, lock=True)
    if row is None or row.work_token != token:
        raise _Stale
    return row


async def _bounded(call: Awaitable[Sight]) -> Sight:
    """One call, bounded; whatever an adapter did not foresee leaves the outcome open."""
    try:
        async with asyncio.timeout(CALL_SECONDS_MAX):
            return await call
    except (Declined, NotNow, Unsure):
        raise
    except TimeoutError as late:
        raise Unsure(f"It did not answer within {CALL_SECONDS_MAX} s.") from late
    except Exception as fault:
        log.exception("disburser_failed")
        raise Unsure(f"Its adapter failed: {type(fault).__name__}.") from fault


def _note(row: Payout, call: str, error: Declined | NotNow | Unsure) -> None:
    log.warning(
        "payout_call_failed",
        payout_id=row.payout_id,
        call=call,
        kind=type(error).__name__,
        detail=error.detail,
        internal=error.internal,
    )


def _facts(row: Payout, now: datetime) -> Facts:
    called = row.called_at or now
    return Facts(
        state=PayoutState(row.state),
        age_seconds=(now - row.state_at).total_seconds(),
        called_seconds=(now - called).total_seconds(),
        calls=row.calls,
        looks=row.looks + 1,
    )


def order_of(row: Payout) -> PayoutOrder:
    """The same words for every call about a payout."""
    return PayoutOrder(
        id=row.payout_id,
        provider=row.account_id,
        address=row.address,
        amount_minor=row.amount_minor,
        currency=row.currency,
        description=f"Earnings {row.period}",
        reference=row.reference,
    )
