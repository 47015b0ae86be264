"""What is owed to providers: how much may be paid out, and the bookings of a payout.

A provider's earnings stand on ``<account>:pending``. A payout takes them to ``<account>:paying``
while it is under way, and from there to ``platform:payouts`` when the money has left, or back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, select

from brain.billing.core.posting import Asset, Posting, pending, transfer
from brain.billing.models import Balance, JournalEntry, JournalTx, Rate
from brain.billing.service.earned import earned
from brain.billing.store import journal
from brain.plumbing import Ctx, Tx
from kernel.ids import AccountId, PayoutId, TxId
from kernel.money import Money

PAYOUTS = "platform:payouts"  # what left to providers
MINIMUM = "payout_minimum"  # nano-dollars, a dated rate
_PENDING = ":pending"


def paying(provider: AccountId) -> str:
    """What of a provider's earnings is on its way out."""
    return f"{provider}:paying"


@dataclass(frozen=True)
class Payable:
    """Nano-dollars. ``young``: of bills that may still be disputed. ``unpaid``: the ledger's line;
    ``payable`` is what of it is old enough; ``under_way`` is with a processor, or on its way."""

    young_nano: int
    unpaid_nano: int
    under_way_nano: int

    @property
    def payable_nano(self) -> int:
        return max(0, self.unpaid_nano - max(0, self.young_nano))


async def payable(tx: Tx, provider: AccountId, matures_ns: int, *, lock: bool = False) -> Payable:
    """What may be paid out. With ``lock`` nobody else books earnings or payouts of this provider
    until the transaction ends, so that what is decided here stays true."""
    names = [pending(provider), paying(provider)]
    if lock:
        await journal.lock_only(tx, [(name, Asset.USD) for name in names])
    found = await earned(tx, provider, matures_ns)
    views = await journal.balances(tx, names)
    return Payable(
        young_nano=found.pending_nano,
        unpaid_nano=views[names[0]].posted,
        under_way_nano=views[names[1]].posted,
    )


async def payout_minimum(tx: Tx, at: datetime) -> Money:
    """No payout is smaller than the figure in force at ``at``."""
    value = await tx.scalar(
        select(Rate.value)
        .where(Rate.name == MINIMUM, Rate.starts_at <= at)
        .order_by(Rate.starts_at.desc())
        .limit(1)
    )
    assert value is not None, "the first row of the minimum comes with the migration"
    return Money(int(value))


async def owed_providers(tx: Tx, least: Money, *, after: str, limit: int) -> list[AccountId]:
    """Providers by id to whom at least ``least`` is owed, matured or not."""
    rows = await tx.scalars(
        select(Balance.ledger_account)
        .where(
            Balance.asset == Asset.USD.value,
            Balance.ledger_account.like(f"acct\\_%{_PENDING}"),
            Balance.ledger_account > after + _PENDING,
            Balance.posted >= least.nano,
        )
        .order_by(Balance.ledger_account)
        .limit(limit)
    )
    return [AccountId(name.removesuffix(_PENDING)) for name in rows]


async def payout_asked(tx: Tx, ctx: Ctx, provider: AccountId, id: PayoutId, sum: Money) -> None:
    """Set the money of a payout aside; the caller holds the locks of ``payable``."""
    await _book(tx, ctx, id, "asked", pending(provider), paying(provider), sum)


async def payout_paid(tx: Tx, ctx: Ctx, provider: AccountId, id: PayoutId, sum: Money) -> None:
    """The money has left."""
    await _book(tx, ctx, id, "paid", paying(provider), PAYOUTS, sum)


async def payout_returned(tx: Tx, ctx: Ctx, provider: AccountId, id: PayoutId, sum: Money) -> None:
    """The payout failed: its money may be paid out again."""
    await _book(tx, ctx, id, "returned", paying(provider), pending(provider), sum)


async def _book(
    tx: Tx, ctx: Ctx, id: PayoutId, event: str, source: str, target: str, sum: Money
) -> None:
    posting: Posting = transfer(
        id=ctx.ids.new(TxId),
        key=f"payout/{id}/{event}",
        kind=f"payout_{event}",
        memo=f"payout {id}",
        source=source,
        target=target,
        amount=sum,
    )
    await journal.post_all(tx, [posting], ctx.clock.now())


@dataclass(frozen=True)
class ProviderLine:
    """Bookings of one kind and subject (a lease, a volume, a payout) on a provider's earnings."""

    kind: str
    subject: str
    count: int
    nano: int


async def provider_lines(
    tx: Tx, provider: AccountId, since: datetime, until: datetime
) -> list[ProviderLine]:
    """What was booked on the earnings in [``since``, ``until``), summed by kind and subject."""
    subject = func.split_part(JournalTx.idempotency_key, "/", 2).label("subject")
    rows = await tx.execute(
        select(
            JournalTx.kind,
            subject,
            func.count().label("bookings"),
            func.sum(JournalEntry.amount).label("nano"),
        )
        .join(JournalTx, JournalTx.id == JournalEntry.tx_id)
        .where(_on(provider), JournalTx.at >= since, JournalTx.at < until)
        .group_by(JournalTx.kind, subject)
        .order_by(JournalTx.kind, subject)
    )
    return [ProviderLine(row.kind, row.subject, row.bookings, int(row.nano)) for row in rows]


async def unpaid_at(tx: Tx, provider: AccountId, at: datetime) -> Money:
    """The ledger's line of a provider's earnings just before ``at``."""
    found = await tx.scalar(
        select(func.coalesce(func.sum(JournalEntry.amount), 0))
        .join(JournalTx, JournalTx.id == JournalEntry.tx_id)
        .where(_on(provider), JournalTx.at < at)
    )
    return Money(int(found or 0))


def _on(provider: AccountId):  # type: ignore[no-untyped-def]
    return and_(
        JournalEntry.ledger_account == pending(provider), JournalEntry.asset == Asset.USD.value
    )
