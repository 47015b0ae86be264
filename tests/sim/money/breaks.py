"""Faults planted in the product itself, to see that the laws find them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

from brain.billing.core import books as billing_books
from brain.billing.core.posting import Capture
from brain.billing.store import journal, segments
from brain.payments import books, turn
from brain.payments import core as rules
from brain.payments import refunds as refunding
from brain.payouts import reconcile as paying
from kernel.ids import PayoutId, RefundId, TopUpId

Swap = tuple[object, str, Any]


def double_capture() -> list[Swap]:
    """What is taken out of a hold is taken out of it twice."""
    real = billing_books._captures

    def twice(*given: Any) -> tuple[Capture, ...]:
        return tuple(replace(one, nano=2 * one.nano) for one in real(*given))

    return [(billing_books, "_captures", twice)]


def lost_segment() -> list[Swap]:
    """Of a batch of several segments one is acknowledged and not written."""
    real = segments.append

    async def short(tx: Any, pieces: Any, received_ns: int) -> int:
        kept = list(pieces)[:-1] if len(pieces) > 2 else pieces
        return await real(tx, kept, received_ns)

    return [(segments, "append", short)]


def cursor_fold() -> list[Swap]:
    """Usage is folded by a cursor over its times: what comes behind it is never seen."""
    real, cursors = segments.unfolded, dict[str, int]()

    async def behind(tx: Any, lease: Any, **limits: Any) -> Any:
        rows = [
            row for row in await real(tx, lease, **limits) if row[1].end_ns > cursors.get(lease, 0)
        ]
        if rows:
            cursors[lease] = max(piece.end_ns for _, piece in rows)
        return rows

    return [(segments, "unfolded", behind)]


def early_webhook_claim() -> list[Swap]:
    """A payment is claimed as handled in one transaction, and credited in the next."""
    real_paid, real_after = books.paid, turn.billing.after_credit
    waiting: dict[str, Any] = {}

    async def claimed(tx: Any, ctx: Any, row: Any) -> None:
        waiting[str(row.account_id)] = row

    async def then(ctx: Any, account: Any) -> None:
        row = waiting.pop(str(account), None)
        if row is not None:
            async with ctx.db.begin() as tx:
                await real_paid(tx, ctx, row)
        await real_after(ctx, account)

    return [(books, "paid", claimed), (turn.billing, "after_credit", then)]


def rounding_per_request() -> list[Swap]:
    """What is left of a nano-dollar is forgotten each time."""

    async def forgotten(tx: Any, carries: Any) -> None:
        return None

    return [(journal, "save_carries", forgotten)]


def fresh_key() -> list[Swap]:
    """Each try to take a top-up has an idempotency key of its own, and nothing is looked up."""
    real = turn._order
    count = iter(range(10**9))

    def fresh(row: Any) -> Any:
        return replace(real(row), id=TopUpId(f"{str(row.topup_id)[:-6]}{next(count):06x}"))

    return [(turn, "_order", fresh)]


def fresh_refund() -> list[Swap]:
    """Each try to give money back is another refund at the processor."""
    real = refunding.call
    count = iter(range(10**9))

    async def ask(processor: Any, refunder: Any, own: Any, row: Any, **_: Any) -> Any:
        id = RefundId(f"{str(own.refund_id)[:-6]}{next(count):06x}")
        order = refunding.RefundOrder(id, row.reference, own.amount_minor, row.currency, own.why)
        return await real(refunder.refund(order))

    return [(refunding, "_ask", ask)]


def fresh_payout() -> list[Swap]:
    """Each try to pay a provider has an id of its own, and looks find nothing."""
    real = paying.order_of
    count = iter(range(10**9))

    def fresh(row: Any) -> Any:
        return replace(real(row), id=PayoutId(f"{str(row.payout_id)[:-6]}{next(count):06x}"))

    return [(paying, "order_of", fresh)]


def eager_refill() -> list[Swap]:
    """After a bank's no the card is charged again at once."""
    return [(rules, "DECLINE_WAIT", timedelta(0))]


def boundless_refill() -> list[Swap]:
    """What the owner allowed for a day and a month is not looked at."""
    return [(rules, "_within_caps", lambda *_: rules.Refill(True, "credit is below the threshold"))]


BREAKS: Mapping[str, Callable[[], list[Swap]]] = {
    made.__name__: made
    for made in (
        double_capture,
        lost_segment,
        cursor_fold,
        early_webhook_claim,
        rounding_per_request,
        fresh_key,
        fresh_refund,
        fresh_payout,
        eager_refill,
        boundless_refill,
    )
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The product with this fault in it; nothing at all for an empty name."""
    swaps = BREAKS[name]() if name else []
    before = [(place, attribute, getattr(place, attribute)) for place, attribute, _ in swaps]
    for place, attribute, wrong in swaps:
        setattr(place, attribute, wrong)
    try:
        yield
    finally:
        for place, attribute, right in before:
            setattr(place, attribute, right)
