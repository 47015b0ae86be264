"""One step of one top-up: ask its processor, look, and book what is true.

Every step may be repeated and may die anywhere: outside, the top-up's id is the idempotency key;
inside, state and booking change in one transaction that still holds the row's token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import structlog

from brain import billing
from brain.payments import books, core, reversing, store
from brain.payments.desk import Desk, Processor
from brain.payments.models import TopUp
from brain.payments.ports import (
    Away,
    Begun,
    CredentialsRefused,
    Order,
    PayerRefused,
    PaymentError,
    PaymentState,
    Seen,
)
from brain.payments.states import OPEN, TopUpEvent, TopUpState
from brain.plumbing import Ctx, Tx, Work
from kernel.ids import TopUpId

T = TypeVar("T")
CALL_SECONDS_MAX = 25

log = structlog.get_logger(__name__)


class Stale(Exception):
    """Another worker holds the row by now: roll back and forget."""


class Saved(Protocol):
    """Let go of the row within its last transaction, due again in ``seconds`` (None: never).

    Raises ``Stale`` when the row was taken over meanwhile.
    """

    async def __call__(self, tx: Tx, row: Work, seconds: float | None) -> None: ...


@dataclass(frozen=True)
class Turn:
    ctx: Ctx
    desk: Desk


async def call(asked: Awaitable[T]) -> T:
    """One call outside, bounded. Whatever goes wrong is a ``PaymentError``."""
    try:
        async with asyncio.timeout(CALL_SECONDS_MAX):
            return await asked
    except PaymentError:
        raise
    except TimeoutError as late:
        raise Away(f"It did not answer within {CALL_SECONDS_MAX} s.") from late
    except Exception as fault:  # an adapter's own mistake: nobody knows what was done
        log.exception("adapter_failed")
        raise Away("Its answer was not understood.", internal=type(fault).__name__) from fault


async def step(turn: Turn, topup_id: TopUpId, saved: Saved) -> None:
    """Bring one top-up as far as it goes now."""
    ctx = turn.ctx
    async with ctx.db.begin() as tx:
        row = await store.get(tx, topup_id)
        assert row is not None, "a taken row is there"
    processor = turn.desk.named(row.processor)
    if processor is None:
        await _without(ctx, row, saved)
        return
    if TopUpState(row.state) in {TopUpState.CREATED, TopUpState.ASKED} and row.reference is None:
        asked = await _ask(ctx, processor, row, saved)
        if asked is None:
            return
        row = asked
    if row.reference is None:  # parked, failed or called off before the processor knew of it
        await _let_go(ctx, topup_id, saved)
        return
    await _look(ctx, processor, row, saved)


async def _without(ctx: Ctx, row: TopUp, saved: Saved) -> None:
    """Its processor is not set up here any more: nothing can be asked."""
    async with ctx.db.begin() as tx:
        found = await store.get(tx, row.topup_id, lock=True)
        assert found is not None, "rows are never deleted"
        if found.state == TopUpState.CREATED.value:
            said = f"{row.processor} is not set up here"
            await store.move_topup(tx, found, TopUpEvent.FAIL, said, ctx.clock.now())
            await saved(tx, found, None)
            return
        found.last_error = f"{row.processor} is not set up here"
        await saved(tx, found, 600)


async def _ask(ctx: Ctx, processor: Processor, row: TopUp, saved: Saved) -> TopUp | None:
    """Begin at the processor, or learn that it was begun. None: the row was let go."""
    if row.called_off and row.asked_at is None:
        await _end(ctx, row.topup_id, TopUpEvent.EXPIRE, "called off", saved)
        return None
    late = core.asked_too_long_ago(store.standing(row), ctx.clock.now())
    await _mark_asked(ctx, row.topup_id)
    await ctx.reach("payments.asked")
    try:
        begun = await _begun(processor, row, late)
        if begun is None:
            await _gave_up(ctx, processor, row, saved)
            return None
    except (Away, CredentialsRefused) as away:
        await _later(ctx, row.topup_id, away, saved)
        return None
    except PaymentError as refused:
        hard = not isinstance(refused, PayerRefused) or refused.hard
        await _end(ctx, row.topup_id, TopUpEvent.FAIL, refused.detail, saved, hard=hard)
        return None
    await ctx.reach("payments.begun")
    async with ctx.db.begin() as tx:
        found = await store.get(tx, row.topup_id, lock=True)
        assert found is not None, "rows are never deleted"
        found.reference = begun.reference
        found.url = begun.url
        found.failures = 0
    await ctx.reach("payments.noted")
    return found


async def _begun(processor: Processor, row: TopUp, late: bool) -> Begun | None:
    """After a failure look first: the call before may have done it. None: it is too late to ask."""
    if processor.finder is not None and (row.failures or late):
        reference = await call(processor.finder.find(_order(row)))
        if reference is not None:
            return Begun(reference, PaymentState.UNKNOWN)
    return None if late else await call(processor.collector.begin(_order(row)))


async def _gave_up(ctx: Ctx, processor: Processor, row: TopUp, saved: Saved) -> None:
    """The processor's own lists say that nothing was begun, or there is nobody to ask."""
    if processor.finder is not None:
        said = "The payment processor was away for too long; nothing was taken."
        await _end(ctx, row.topup_id, TopUpEvent.FAIL, said, saved)
        return
    said = f"the processor never said what became of it: {row.last_error}"
    await _end(ctx, row.topup_id, TopUpEvent.PARK, said, saved)


async def _mark_asked(ctx: Ctx, topup_id: TopUpId) -> None:
    async with ctx.db.begin() as tx:
        row = await store.get(tx, topup_id, lock=True)
        assert row is not None, "rows are never deleted"
        if row.state == TopUpState.CREATED.value:
            row.asked_at = ctx.clock.now()
            said = "the processor is asked"
            await store.move_topup(tx, row, TopUpEvent.ASK, said, ctx.clock.now())


def _order(row: TopUp) -> Order:
    return Order(
        id=row.topup_id,
        account=row.account_id,
        amount_minor=row.amount_minor,
        currency=row.currency,
        payer=row.payer,
        description=row.description,
        off_session=row.automatic,
        customer=row.customer,
        return_url=row.return_url,
    )


async def _look(ctx: Ctx, processor: Processor, row: TopUp, saved: Saved) -> None:
    assert row.reference is not None, "the caller looked"
    try:
        seen = await _seen(ctx, processor, row)
    except PaymentError as away:
        await _later(ctx, row.topup_id, away, saved)
        return
    await ctx.reach("payments.looked")
    async with ctx.db.begin() as tx:
        found = await store.get(tx, row.topup_id, lock=True)
        assert found is not None, "rows are never deleted"
        known = found.fee_minor is not None
        paid = await _apply(tx, ctx, found, seen)
        if not paid:
            found.failures = 0
            await saved(tx, found, _next_look(ctx, found))
            return
        again = core.follow_again_seconds(
            fee_known=found.fee_minor is not None,
            failures=found.failures,
            unsettled=await reversing.unsettled(tx, found.topup_id),
        )
        found.failures = 0 if known or found.fee_minor is not None else found.failures + 1
    await ctx.reach("payments.paid")
    await billing.after_credit(ctx, row.account_id)
    async with ctx.db.begin() as tx:
        found = await store.get(tx, row.topup_id, lock=True)
        assert found is not None, "rows are never deleted"
        await saved(tx, found, again)


async def _seen(ctx: Ctx, processor: Processor, row: TopUp) -> Seen:
    """The truth. What failed, was called off or came too late is called off there as well, so
    that a page left open somewhere cannot take the money later."""
    assert row.reference is not None, "the caller looked"
    seen = await call(processor.collector.look(row.reference))
    ends = row.called_off or ctx.clock.now() >= row.expires_at
    waits = seen.state in {PaymentState.NEEDS_PAYER, PaymentState.UNKNOWN}
    if processor.canceller is None or TopUpState(row.state) not in OPEN:
        return seen
    if seen.state is PaymentState.FAILED or (ends and waits):
        await call(processor.canceller.cancel(row.reference))
        await ctx.reach("payments.cancelled")
        after = await call(processor.collector.look(row.reference))
        return after if after.state is not PaymentState.FAILED else _why(seen, after)
    return seen


def _why(before: Seen, after: Seen) -> Seen:
    """The reason of the refusal, which calling off may have covered."""
    return before if before.state is PaymentState.FAILED else after


async def _apply(tx: Tx, ctx: Ctx, row: TopUp, seen: Seen) -> bool:
    """Move and book what the look says; True when the top-up is paid."""
    now = ctx.clock.now()
    row.payment = seen.payment or row.payment
    row.url = seen.url or row.url
    row.disputed = seen.disputed
    row.last_error = ""
    decided = core.judge(store.standing(row), seen, now)
    if decided is not None:
        event, reason = decided.event, decided.reason
        ended = row.called_off or now >= row.expires_at
        if event is TopUpEvent.FAIL and ended and row.state == TopUpState.NEEDS_PAYER.value:
            event = TopUpEvent.EXPIRE
            reason = "called off" if row.called_off else "nobody paid in time"
        row.hard = decided.hard
        await store.move_topup(tx, row, event, reason, now)
        if event is TopUpEvent.PAY:
            row.paid_at = now
            await books.paid(tx, ctx, row)
        if event is TopUpEvent.PARK:
            log.error("topup_parked", topup_id=row.topup_id, reason=reason)
    if row.state != TopUpState.PAID.value:
        return False
    if seen.fee_minor is not None:
        await books.fee(tx, ctx, row, row, seen.fee_minor)
    await reversing.apply(tx, ctx, row, seen)
    return True


def _next_look(ctx: Ctx, row: TopUp) -> float | None:
    age = (ctx.clock.now() - row.created_at).total_seconds()
    return core.look_again_seconds(TopUpState(row.state), age)


async def _later(ctx: Ctx, topup_id: TopUpId, away: PaymentError, saved: Saved) -> None:
    async with ctx.db.begin() as tx:
        row = await store.get(tx, topup_id, lock=True)
        assert row is not None, "rows are never deleted"
        row.failures += 1
        row.last_error = away.detail[:500]
        wait = core.backoff_seconds(row.failures)
        if isinstance(away, Away) and away.retry_after is not None:
            wait = max(wait, away.retry_after)
        log.warning(
            "processor_away", topup_id=topup_id, detail=away.detail, internal=str(away.internal)
        )
        await saved(tx, row, wait)


async def _end(
    ctx: Ctx, topup_id: TopUpId, event: TopUpEvent, reason: str, saved: Saved, *, hard: bool = False
) -> None:
    async with ctx.db.begin() as tx:
        row = await store.get(tx, topup_id, lock=True)
        assert row is not None, "rows are never deleted"
        row.hard = hard
        await store.move_topup(tx, row, event, reason, ctx.clock.now())
        if event is TopUpEvent.PARK:
            log.error("topup_parked", topup_id=topup_id, reason=reason)
        await saved(tx, row, None)


async def _let_go(ctx: Ctx, topup_id: TopUpId, saved: Saved) -> None:
    async with ctx.db.begin() as tx:
        row = await store.get(tx, topup_id, lock=True)
        assert row is not None, "rows are never deleted"
        await saved(tx, row, None)
