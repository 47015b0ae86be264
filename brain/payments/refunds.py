"""Refunds that are asked for here: the account gives the money first, then the processor returns
it. What the processor will not return, the account has again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from brain import billing
from brain.billing import Asset
from brain.payments import books, core, store
from brain.payments.core import Exchange
from brain.payments.desk import Desk, Processor
from brain.payments.models import TopUp, TopUpReversal
from brain.payments.ports import (
    Away,
    CredentialsRefused,
    PaymentError,
    PaymentRefused,
    PaymentState,
    Refunder,
    RefundOrder,
    RefundSeen,
)
from brain.payments.states import ReversalEvent, ReversalState, TopUpState
from brain.payments.turn import Saved, Turn, call
from brain.plumbing import Ctx, Tx, work
from kernel.errors import Conflict, NotFound
from kernel.ids import AccountId, RefundId, TopUpId
from kernel.money import Money

FOLLOW = timedelta(seconds=60)
AT_ONCE = timedelta(hours=1)  # processors know an idempotency key for a day
OFF_SECONDS = 600  # how often a refund is looked at whose processor is switched off


@dataclass(frozen=True)
class RefundWish:
    """``account`` None: an administrator's. ``amount_minor`` None: all that is unused."""

    topup_id: TopUpId
    account: AccountId | None
    amount_minor: int | None
    reason: str
    asked_by: str


async def plan(tx: Tx, ctx: Ctx, desk: Desk, wish: RefundWish) -> TopUpReversal:
    """Take what is to go back from the account, and write the refund down.

    Only what is left of the top-up and unused by the account goes back; ``Conflict`` says how
    much that is. An owner has ``refund_days`` to ask."""
    row = await store.get(tx, wish.topup_id, lock=True)
    if row is None or (wish.account is not None and row.account_id != wish.account):
        raise NotFound("There is no top-up with this id.")
    _may_go_back(ctx, desk, row, wish)
    rows = await store.reversals(tx, row.topup_id, lock=True)
    views = await billing.lock_balances(tx, [(str(row.account_id), Asset.USD)])
    most = core.refundable_minor(
        amount_minor=row.amount_minor,
        reversed_minor=store.reversed_minor(rows),
        free=Money(views[str(row.account_id)].free),
        exchange=Exchange(row.currency, row.rate_nano, row.rate_version),
    )
    amount = most if wish.amount_minor is None else wish.amount_minor
    if not 0 < amount <= most:
        raise Conflict(
            f"{books.nano_of(row, most)} of this top-up is unused and may go back.",
            code="not_refundable",
            refundable_usd=str(books.nano_of(row, most)),
        )
    reversal = await store.add_reversal(tx, _planned(ctx, row, amount, wish))
    await books.taken_back(tx, ctx, row, reversal)
    return reversal


def _may_go_back(ctx: Ctx, desk: Desk, row: TopUp, wish: RefundWish) -> None:
    processor = desk.named(row.processor)
    if processor is None or processor.refunder is None:
        raise Conflict(f"{row.processor} gives nothing back from here.", code="not_refundable")
    if row.state != TopUpState.PAID.value or row.paid_at is None:
        raise Conflict(f"This top-up is {row.state}: nothing was paid.", code="not_refundable")
    if row.disputed:
        raise Conflict("Its payer disputes this payment at the bank.", code="not_refundable")
    days = desk.terms.refund_days
    if wish.account is not None and ctx.clock.now() > row.paid_at + timedelta(days=days):
        raise Conflict(
            f"A top-up may be taken back within {days} days; ask support for later ones.",
            code="not_refundable",
        )


def _planned(ctx: Ctx, row: TopUp, amount: int, wish: RefundWish) -> TopUpReversal:
    now = ctx.clock.now()
    return TopUpReversal(
        refund_id=ctx.ids.new(RefundId),
        topup_id=row.topup_id,
        processor=row.processor,
        kind="refund",
        ours=True,
        asked_by=wish.asked_by,
        why=wish.reason,
        amount_minor=amount,
        reference=None,
        fee_minor=0,
        fee_bookings=0,
        settled=False,
        failures=0,
        created_at=now,
        due_at=now + core.HEAD_START,
    )


async def step(turn: Turn, refund_id: RefundId, saved: Saved) -> None:
    """Bring one of our refunds to its processor; where it is looked at by itself, to its end."""
    ctx = turn.ctx
    async with ctx.db.begin() as tx:
        own = await store.reversal(tx, refund_id)
        assert own is not None, "a taken row is there"
        row = await store.get(tx, own.topup_id)
        assert row is not None, "its top-up is there"
    processor = turn.desk.named(own.processor)
    if not _open(own):
        await _save(ctx, refund_id, saved, None)
        return
    if processor is None or processor.refunder is None:
        await _save(ctx, refund_id, saved, OFF_SECONDS)
        return
    await ctx.reach("payments.refund_planned")
    try:
        late = ctx.clock.now() > own.created_at + AT_ONCE
        seen = await _ask(processor, processor.refunder, own, row, late=late)
    except (Away, CredentialsRefused):
        await _save(ctx, refund_id, saved, core.backoff_seconds(own.failures + 1), failed=True)
        return
    except PaymentError as refused:
        seen = RefundSeen(own.reference or "", PaymentState.FAILED, refused.detail)
    await ctx.reach("payments.refund_asked")
    await _answered(ctx, refund_id, seen, saved, alone=processor.refund_looker is not None)
    await billing.after_credit(ctx, row.account_id)


def _open(own: TopUpReversal) -> bool:
    """Is there anything to do for it here?"""
    state = ReversalState(own.state)
    return state is ReversalState.PLANNED or (state is ReversalState.STANDS and not own.settled)


async def _ask(
    processor: Processor, refunder: Refunder, own: TopUpReversal, row: TopUp, *, late: bool
) -> RefundSeen:
    """After a failure, or later than at once, look first: the call before may have done it, and
    its idempotency key may be forgotten by now."""
    assert row.reference is not None, "what is paid has a reference"
    order = RefundOrder(own.refund_id, row.reference, own.amount_minor, row.currency, own.why)
    planned = own.state == ReversalState.PLANNED.value
    if own.failures or late or not planned:
        found = await _seen(processor, order)
        if found is not None:
            return found
    if not planned:  # it was accepted: that it is not shown now does not mean that it failed
        return RefundSeen(own.reference or "", PaymentState.PENDING)
    return await call(refunder.refund(order))


async def _seen(processor: Processor, order: RefundOrder) -> RefundSeen | None:
    """What the processor shows of our refund, by itself or with its payment."""
    try:
        if processor.refund_looker is not None:
            return await call(processor.refund_looker.refund_seen(order))
        seen = await call(processor.collector.look(order.reference))
    except PaymentRefused as strange:  # of a look: it says nothing about the refund
        raise Away(strange.detail, internal=strange.internal) from strange
    for one in seen.reversals:
        if one.refund_id == order.id:
            stands = PaymentState.SUCCEEDED if one.settled else PaymentState.PENDING
            state = stands if one.stands else PaymentState.FAILED
            return RefundSeen(one.reference, state, one.reason)
    return None


async def _answered(
    ctx: Ctx, refund_id: RefundId, seen: RefundSeen, saved: Saved, *, alone: bool
) -> None:
    """``alone``: it is looked at by itself until it is settled."""
    async with ctx.db.begin() as tx:
        found = await store.reversal(tx, refund_id)
        assert found is not None, "rows are never deleted"
        row = await store.get(tx, found.topup_id, lock=True)
        own = await store.reversal(tx, refund_id, lock=True)
        assert own is not None, "rows are never deleted"
        assert row is not None, "its top-up is there"
        if _open(own):
            await _move(tx, ctx, row, own, seen)
        age = (ctx.clock.now() - own.created_at).total_seconds()
        follow = alone and _open(own)
        await work.nudge(tx, TopUp, row.topup_id, ctx.clock.now() + FOLLOW)
        await saved(tx, own, core.follow_refund_seconds(age) if follow else None)


async def _move(tx: Tx, ctx: Ctx, row: TopUp, own: TopUpReversal, seen: RefundSeen) -> None:
    now = ctx.clock.now()
    own.failures = 0
    if seen.state is PaymentState.FAILED:
        own.settled = True
        said = seen.reason or "the processor gives nothing back"
        await store.move_reversal(tx, own, ReversalEvent.RETURN, said, now)
        await books.given_again(tx, ctx, row, own)
        return
    own.reference = seen.reference
    own.settled = seen.state is PaymentState.SUCCEEDED
    if own.state == ReversalState.PLANNED.value:
        await store.move_reversal(tx, own, ReversalEvent.STAND, "it is on its way back", now)


async def _save(
    ctx: Ctx, refund_id: RefundId, saved: Saved, seconds: float | None, failed: bool = False
) -> None:
    async with ctx.db.begin() as tx:
        own = await store.reversal(tx, refund_id, lock=True)
        assert own is not None, "rows are never deleted"
        own.failures += int(failed)
        await saved(tx, own, seconds)
