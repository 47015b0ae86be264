"""What the room writes into the ledger. Each runs in its caller's transaction, and has a key that
belongs to the business object alone, so that no number of messages books it twice.

``platform:purchases`` less ``platform:processor-fees`` mirrors our balance at the processors.
"""

from __future__ import annotations

from brain import billing
from brain.billing import PURCHASES
from brain.payments.models import TopUp, TopUpReversal
from brain.plumbing import Ctx, Tx
from kernel.ids import TxId
from kernel.money import Money

PROCESSOR_FEES = "platform:processor-fees"


async def paid(tx: Tx, ctx: Ctx, row: TopUp) -> None:
    """The account has what was paid."""
    by = row.payer_label or row.method
    await _book(
        tx,
        ctx,
        key=f"topup/{row.topup_id}",
        kind="purchase",
        memo=f"Top-up by {by}",
        source=PURCHASES,
        target=str(row.account_id),
        amount=Money(row.credit_nano),
    )


async def taken_back(tx: Tx, ctx: Ctx, row: TopUp, reversal: TopUpReversal) -> None:
    """The account has so much less; below zero is possible, and then it stops."""
    await _book(
        tx,
        ctx,
        key=f"topup/{row.topup_id}/{reversal.refund_id}/{reversal.version}",
        kind=reversal.kind,
        memo=f"{reversal.kind.capitalize()} of {row.topup_id}: {reversal.why}"[:500],
        source=str(row.account_id),
        target=PURCHASES,
        amount=nano_of(row, reversal.amount_minor),
    )
    if (await billing.balances(tx, [row.account_id]))[row.account_id].free <= 0:
        said = f"a {reversal.kind} of a top-up took its credit"
        await billing.stop_account(tx, ctx, row.account_id, said)


async def given_again(tx: Tx, ctx: Ctx, row: TopUp, reversal: TopUpReversal) -> None:
    """What was to go back stayed with us or came again: the account has it again."""
    await _book(
        tx,
        ctx,
        key=f"topup/{row.topup_id}/{reversal.refund_id}/{reversal.version}",
        kind=f"{reversal.kind}_returned",
        memo=f"The {reversal.kind} of {row.topup_id} was returned",
        source=PURCHASES,
        target=str(row.account_id),
        amount=nano_of(row, reversal.amount_minor),
    )


async def fee(
    tx: Tx, ctx: Ctx, row: TopUp, kept_for: TopUp | TopUpReversal, now_minor: int
) -> None:
    """What the processor keeps is ours to bear, never the account's. Its bookings are counted, as
    a fee may become what it was before."""
    change = now_minor - (kept_for.fee_minor or 0)
    kept_for.fee_minor = now_minor
    if not change:
        return
    kept_for.fee_bookings += 1
    subject = kept_for.refund_id if isinstance(kept_for, TopUpReversal) else ""
    await _book(
        tx,
        ctx,
        key=f"topup/{row.topup_id}/fee/{subject}/{kept_for.fee_bookings}",
        kind="processor_fee",
        memo=f"Fee of {row.processor}",
        source=PROCESSOR_FEES,
        target=PURCHASES,
        amount=nano_of(row, change),
    )


def nano_of(row: TopUp, minor: int) -> Money:
    return Money(minor * row.rate_nano)


async def _book(
    tx: Tx, ctx: Ctx, *, key: str, kind: str, memo: str, source: str, target: str, amount: Money
) -> None:
    posting = billing.transfer(
        id=ctx.ids.new(TxId),
        key=key,
        kind=kind,
        memo=memo,
        source=source,
        target=target,
        amount=amount,
    )
    await billing.post_in(tx, [posting], ctx.clock.now())
