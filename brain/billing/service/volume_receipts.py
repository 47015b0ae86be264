"""A volume's receipt: each stretch of its time with its price, and what was booked for it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from brain.billing.core.receipt import VERSION
from brain.billing.core.storage import storage_key
from brain.billing.models import StorageBill
from brain.billing.store import journal
from brain.plumbing import Ctx
from kernel.errors import NotFound
from kernel.ids import AccountId, VolumeId
from kernel.money import Money

BILLS_MAX = 10_000


async def volume_receipt(ctx: Ctx, account: AccountId, id: VolumeId) -> dict[str, Any]:
    """The newest stretches of a volume that this account paid for. ``NotFound`` where none is."""
    async with ctx.db.begin() as tx:
        rows = await tx.scalars(
            select(StorageBill)
            .where(StorageBill.volume_id == id, StorageBill.payer == account)
            .order_by(StorageBill.from_ns.desc())
            .limit(BILLS_MAX)
        )
        bills = sorted(rows, key=lambda bill: bill.from_ns)
        if not bills:
            raise NotFound("There is no volume with this id that this account paid for.")
        ledger = await journal.booked(tx, [storage_key(id, bill.from_ns) for bill in bills])
    total = sum(bill.charge_nano for bill in bills)
    return {
        "v": VERSION,
        "kind": "volume",
        "volume_id": str(id),
        "account_id": str(account),
        "billed_nano": total,
        "billed_usd": str(Money(total)),
        "truncated": len(bills) == BILLS_MAX,
        "explanation": ["Each stretch is GiB x time seen x price per GiB-hour, by the nanosecond."],
        "bills": [_bill(bill) for bill in bills],
        "ledger": [{k: v for k, v in one.items() if k != "key"} for one in ledger],
    }


def _bill(row: StorageBill) -> dict[str, Any]:
    return {
        "from_ns": row.from_ns,
        "until_ns": row.until_ns,
        "seen_ns": row.seen_ns,
        "gib": row.gib,
        "price_nano": row.price_nano,
        "charge_nano": row.charge_nano,
    }
