"""The room's ticks, by the names that Celery carries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from brain.payouts.reconcile import reconcile_payouts
from brain.payouts.service import PayoutTerms, run_period
from brain.plumbing import Ctx

PAYOUTS: Final = "ganglion.payouts"
PAYOUT_RUN: Final = "ganglion.payout-run"


def ticks(
    ctx: Ctx, terms: PayoutTerms, *, owner: str, halt: Callable[[], bool]
) -> Mapping[str, Callable[[], Awaitable[object]]]:
    """Each tick by its name; ``halt`` says when to end early."""

    async def step() -> object:
        return await reconcile_payouts(ctx, terms, owner=owner, halt=halt)

    async def run() -> object:
        return await run_period(ctx, terms, halt=halt)

    return {PAYOUTS: step, PAYOUT_RUN: run}
