"""What documents do to the books: the tax of an invoice, what a credit note gives back."""

from __future__ import annotations

from brain.billing.core.posting import Asset, Entry, Posting
from brain.billing.service.grants import restart_if_able
from brain.billing.service.settle import stop_overdrawn
from brain.billing.store import journal
from brain.plumbing import Ctx, Tx
from kernel.ids import AccountId, TxId

TAXES = "platform:taxes"  # what we took for the tax office, and owe it
CREDIT_NOTES = "platform:credit-notes"  # what credit notes gave back of use


async def paper_posted(
    tx: Tx,
    ctx: Ctx,
    account: AccountId,
    document_id: str,
    *,
    kind: str,
    memo: str,
    net_nano: int = 0,
    tax_nano: int = 0,
) -> None:
    """Move money that a document is about, in its transaction: into the account where above 0,
    out of it where below. Once a document. An account that this overdraws is stopped."""
    entries = tuple(
        Entry(name, Asset.USD, amount)
        for name, amount in (
            (account, net_nano + tax_nano),
            (CREDIT_NOTES, -net_nano),
            (TAXES, -tax_nano),
        )
        if amount
    )
    if not entries:
        return
    await journal.lock_only(tx, [(entry.account, Asset.USD) for entry in entries])
    posting = Posting(ctx.ids.new(TxId), f"{kind}/{document_id}", kind, memo, entries)
    await journal.post_all(tx, [posting], ctx.clock.now())
    await stop_overdrawn(tx, ctx, {account})


async def after_paper(ctx: Ctx, account: AccountId) -> None:
    """An account that was stopped for want of the money that came back may go on."""
    await restart_if_able(ctx, account)
