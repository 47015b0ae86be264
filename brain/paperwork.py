"""What a process does on paper: documents each month; who signs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from brain import invoices
from brain.deployments import tasks
from brain.invoices import Seller
from brain.plumbing import Ctx
from brain.settings import Settings

Tick = Callable[[], Awaitable[object]]


def seller(settings: Settings) -> Seller:
    """Who issues documents of this installation."""
    address = settings.seller_address.replace("\\n", "\n")
    return Seller(settings.seller_name, address, settings.seller_tax_id)


def ticks(ctx: Ctx, settings: Settings, halt: Callable[[], bool]) -> Mapping[str, Tick]:
    """Each tick by its task's name."""

    async def months() -> object:
        return await invoices.invoice_months(ctx, seller(settings), halt=halt)

    return {tasks.INVOICES: months}
