"""Refunds and disputes as a look at the processor shows them, booked once each."""

from __future__ import annotations

from brain.payments import books, core, store
from brain.payments.models import TopUp, TopUpReversal
from brain.payments.ports import Reversal, Seen
from brain.payments.states import ReversalEvent, ReversalState
from brain.plumbing import Ctx, Tx
from kernel.ids import RefundId, TopUpId


async def unsettled(tx: Tx, topup_id: TopUpId) -> bool:
    """Is something of it still open at the processor?"""
    return any(not row.settled for row in await store.reversals(tx, topup_id))


async def apply(tx: Tx, ctx: Ctx, row: TopUp, seen: Seen) -> None:
    """Book what went back and what came again, each once. ``row`` is locked and paid."""
    known = await store.reversals(tx, row.topup_id, lock=True)
    by_reference = {one.reference: one for one in known if one.reference is not None}
    by_id = {str(one.refund_id): one for one in known}
    refunds = {
        one.reference or str(one.refund_id): one.amount_minor
        for one in known
        if one.kind == "refund" and one.state != ReversalState.RETURNED.value
    }
    for found in core.reversals_of(seen, row.reference or "", refunds):
        own = by_id.get(found.refund_id or "") or by_reference.get(found.reference)
        if own is None and not found.stands and not found.fee_minor:
            continue  # a question of the payer's bank: nothing left us
        if own is None:
            own = await store.add_reversal(tx, _seen_outside(ctx, row, found))
        await _bring(tx, ctx, row, own, found)


def _seen_outside(ctx: Ctx, row: TopUp, found: Reversal) -> TopUpReversal:
    return TopUpReversal(
        refund_id=ctx.ids.new(RefundId),
        topup_id=row.topup_id,
        processor=row.processor,
        kind=found.kind.value,
        ours=False,
        asked_by="",
        why=found.reason or found.kind.value,
        amount_minor=found.amount_minor,
        reference=found.reference,
        fee_minor=0,
        fee_bookings=0,
        settled=False,
        failures=0,
        created_at=ctx.clock.now(),
        due_at=None,
    )


async def _bring(tx: Tx, ctx: Ctx, row: TopUp, own: TopUpReversal, found: Reversal) -> None:
    """One reversal to where the processor has it."""
    now = ctx.clock.now()
    own.reference = found.reference
    own.settled = found.settled
    state = ReversalState(own.state)
    if found.stands and state is not ReversalState.STANDS:
        # Our own refund was taken from the account when it was asked for.
        booked = own.ours and state is ReversalState.PLANNED
        await store.move_reversal(tx, own, ReversalEvent.STAND, found.reason or "it left us", now)
        if not booked:
            await books.taken_back(tx, ctx, row, own)
    elif not found.stands and state is not ReversalState.RETURNED:
        booked = own.ours or state is ReversalState.STANDS
        said = found.reason or "it is ours again"
        await store.move_reversal(tx, own, ReversalEvent.RETURN, said, now)
        if booked:
            await books.given_again(tx, ctx, row, own)
    await books.fee(tx, ctx, row, own, found.fee_minor)
    own.due_at = None if own.state != ReversalState.PLANNED.value else own.due_at
    await tx.flush()
