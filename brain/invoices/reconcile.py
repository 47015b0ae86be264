"""Once a month each account's invoice; looked at each minute, done once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog

from brain.invoices import core, service, store
from brain.invoices.service import Period, Seller
from brain.plumbing import Ctx
from kernel.errors import Conflict

AFTER = timedelta(minutes=15)  # what was posted at the month's end has committed by then
PAGE = 100

_log = structlog.get_logger()


async def invoice_months(
    ctx: Ctx, seller: Seller, *, halt: Callable[[], bool] = lambda: False
) -> int:
    """The last month's invoices, for accounts that have none yet. Returns how many were issued.
    May run any number of times at once; an account that fails is tried again."""
    first, until = core.month_before(ctx.clock.now() - AFTER)
    month, after, issued, whole = first.date(), "", 0, True
    async with ctx.db.begin() as tx:
        if await store.month_is_done(tx, month):
            return 0
    while not halt():
        async with ctx.db.begin() as tx:
            page = await store.accounts_waiting(tx, month, after=after, limit=PAGE)
        for account in page:
            try:
                await service.issue_receipts(ctx, seller, account)
                await service.issue(ctx, seller, account, Period(until, month))
                issued += 1
            except Conflict:  # nothing was used, or another process was first
                async with ctx.db.begin() as tx:
                    await store.month_done(tx, month, account)
            except Exception as error:  # of this account alone: the others must not wait for it
                whole = False
                _log.exception("account_not_invoiced", account_id=account, error=repr(error))
        if len(page) < PAGE:
            if whole:
                async with ctx.db.begin() as tx:
                    await store.month_done(tx, month, "")
            return issued
        after = page[-1]
    return issued
