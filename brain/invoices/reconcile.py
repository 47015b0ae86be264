"""Receipts of top-ups soon after each; once a month each account's invoice. Each is done once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog

from brain.invoices import core, service, store
from brain.invoices.service import Period, Seller
from brain.plumbing import Ctx
from kernel.errors import Conflict
from kernel.ids import TxId, uuid7

AFTER = timedelta(minutes=15)  # what was posted at the month's end has committed by then
LATE = timedelta(days=2)  # what is older gets its receipt with the month's invoice
PAGE = 100

_log = structlog.get_logger()


async def receipts_due(
    ctx: Ctx, seller: Seller, *, halt: Callable[[], bool] = lambda: False
) -> int:
    """A receipt for each top-up of late that has none. Returns how many were issued. May run any
    number of times at once, and die anywhere; an account that fails is tried again."""
    after, issued = "", 0
    since = TxId.of(uuid7(int((ctx.clock.now() - LATE).timestamp() * 1000), 0))
    while not halt():
        async with ctx.db.begin() as tx:
            page = await store.accounts_paid(tx, since=since, after=after, limit=PAGE)
        for account in page:
            try:
                issued += await service.issue_receipts(ctx, seller, account)
            except Exception as error:  # of this account alone: the others must not wait for it
                _log.exception("receipt_not_issued", account_id=account, error=repr(error))
        if len(page) < PAGE:
            break
        after = page[-1]
    return issued


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
