"""The room's ticks, by the names that Celery carries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from brain.payments.desk import Desk
from brain.payments.reconcile import reconcile_payments
from brain.payments.refill import reconcile_refills
from brain.payments.sweep import sweep_payments
from brain.plumbing import Ctx

PAYMENTS: Final = "ganglion.payments"
REFILLS: Final = "ganglion.refills"
PAYMENT_BOOKS: Final = "ganglion.payment-books"


def ticks(
    ctx: Ctx, desk: Desk, *, owner: str, halt: Callable[[], bool]
) -> Mapping[str, Callable[[], Awaitable[object]]]:
    """Each tick by its name; ``halt`` says when to end early."""

    async def step() -> object:
        return await reconcile_payments(ctx, desk, owner=owner, halt=halt)

    async def refill() -> object:
        return await reconcile_refills(ctx, desk, owner=owner, halt=halt)

    async def books() -> object:
        return await sweep_payments(ctx, desk)

    return {PAYMENTS: step, REFILLS: refill, PAYMENT_BOOKS: books}
