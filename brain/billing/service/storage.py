"""Volumes on the meter: a stretch of time becomes a balanced transaction and a row of the bill."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import func, select

from brain.billing.core.books import clock_text
from brain.billing.core.storage import (
    Stored,
    charge_storage,
    storage_names,
    storage_posting,
)
from brain.billing.models import StorageBill
from brain.billing.service.settle import stop_overdrawn
from brain.billing.store import journal, rates
from brain.billing.store.rates import RateName
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Ctx, Tx
from kernel.clock import NS
from kernel.ids import TxId, VolumeId
from kernel.money import Money


async def storage_price(tx: Tx, at: datetime) -> int:
    """Nano-dollars per GiB-hour of a volume that is made at ``at``."""
    return await rates.rate(tx, RateName.STORAGE, at)


async def storage_accrued(tx: Tx, ctx: Ctx, stored: Stored) -> Money:
    """Charge a stretch of a volume's time, in the caller's transaction, which holds the volume's
    row. Returns the charge; an account that it overdraws is stopped. The stretch is a volume's
    own by its beginning: posting it twice is ``Conflict``."""
    views = await journal.lock(tx, storage_names(stored))
    fee = await rates.rate(tx, RateName.PLATFORM_FEE, _at(stored.from_ns))
    carrier = stored.carrier
    made = charge_storage(stored, views[carrier].carry, fee, PLATFORM_ACCOUNT)
    hours = f"{clock_text(stored.from_ns)} to {clock_text(stored.until_ns)} UTC"
    memo = f"{stored.gib} GiB, {hours}, {Money(stored.price_nano)}/GiB-h"
    posting = storage_posting(ctx.ids.new(TxId), stored, made, PLATFORM_ACCOUNT, memo)
    if posting is not None:
        await journal.post_all(tx, [posting], ctx.clock.now())
    await journal.save_carries(tx, {carrier: made.carry})
    tx.add(
        StorageBill(
            volume_id=stored.volume_id,
            from_ns=stored.from_ns,
            until_ns=stored.until_ns,
            seen_ns=stored.seen_ns,
            gib=stored.gib,
            price_nano=stored.price_nano,
            payer=stored.payer,
            provider=stored.provider,
            charge_nano=made.charge.nano if stored.payer is not None else 0,
            earned_nano=made.earned.nano,
        )
    )
    await tx.flush()
    if stored.payer is not None:
        await stop_overdrawn(tx, ctx, {stored.payer})
    return made.charge


async def storage_cost(tx: Tx, volume_id: VolumeId) -> Money:
    """What a volume was charged so far."""
    found = await tx.scalar(
        select(func.coalesce(func.sum(StorageBill.charge_nano), 0)).where(
            StorageBill.volume_id == volume_id
        )
    )
    return Money(int(found or 0))


def _at(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // NS, UTC)
