"""A transaction's way back: new entries with every sign turned, once, by a key of its own."""

from __future__ import annotations

from brain.billing.core.posting import Asset, Entry, Posting, reversal_key
from brain.billing.service.grants import restart_if_able
from brain.billing.service.group_commit import post
from brain.billing.service.settle import stop_overdrawn
from brain.billing.store import journal
from brain.plumbing import Ctx
from kernel.errors import BadInput, NotFound
from kernel.ids import AccountId, TxId

KIND = "reversal"
# What was paid in goes back through its processor, and what is a reversal already stays.
KEPT = frozenset({"purchase", "refund", "refund_returned", "dispute", "dispute_returned", KIND})


async def reverse(ctx: Ctx, id: TxId, *, reason: str) -> TxId:
    """Turn a transaction back; returns when that is committed. A repeat returns the first, and
    with another reason it is ``Conflict``. The transaction itself stays as it was posted; what it
    took out of a hold does not go back into the hold. An account that this overdraws is stopped."""
    async with ctx.db.begin() as tx:
        found = await journal.whole(tx, id)
    if found is None:
        raise NotFound("There is no such transaction.")
    kind, entries = found
    if kind in KEPT:
        raise BadInput(
            "A payment goes back as a refund through its processor, and a reversal stays. "
            "Reverse another transaction, or grant what is missing.",
            param="transaction_id",
        )
    turned = tuple(Entry(name, Asset(asset), -amount) for name, asset, amount in entries)
    posted = await post(ctx, Posting(ctx.ids.new(TxId), reversal_key(id), KIND, reason, turned))
    for account in sorted(_people(turned)):
        async with ctx.db.begin() as tx:
            await journal.lock(tx, [(account, Asset.USD)])
            await stop_overdrawn(tx, ctx, {account})
        await restart_if_able(ctx, account)
    return posted.id


def _people(entries: tuple[Entry, ...]) -> set[AccountId]:
    """The accounts whose spendable balance it touches; not the lines beside it."""
    prefix = f"{AccountId.prefix}_"
    return {
        AccountId(e.account)
        for e in entries
        if e.asset is Asset.USD and e.account.startswith(prefix) and ":" not in e.account
    }
