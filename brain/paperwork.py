"""What a process does on paper: documents each month, letters to owners, records of costs."""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
from collections.abc import Awaitable, Callable, Mapping

import structlog
from sqlalchemy.exc import SQLAlchemyError

from brain import billing, costs, invoices, notices, spending
from brain.adapters.mail import open_mailer
from brain.costs import Recorder
from brain.deployments import tasks
from brain.invoices import Seller
from brain.plumbing import Ctx
from brain.settings import Settings
from brain.spending import WarnTerms
from kernel.money import Money

Tick = Callable[[], Awaitable[object]]

_log = structlog.get_logger()


def seller(settings: Settings) -> Seller:
    """Who issues documents of this installation."""
    address = settings.seller_address.replace("\\n", "\n")
    return Seller(settings.seller_name, address, settings.seller_tax_id)


async def first_price(settings: Settings, ctx: Ctx) -> None:
    """The first price of a credit is the setting's, as long as nothing was sold."""
    nano = Money.usd(str(settings.credit_price_usd)).nano
    try:
        async with ctx.db.begin() as tx:
            if await billing.first_credit_price(tx, nano):
                _log.info("credit_price_set", nano=nano)
    except (SQLAlchemyError, OSError) as error:  # the next start sets it
        _log.warning("credit_price_not_set", error=type(error).__name__)


def recorder(settings: Settings, ctx: Ctx) -> Recorder:
    """What this process's costs are recorded by; hashes are of this installation alone."""
    master_key = bytes.fromhex(settings.master_key.get_secret_value())
    key = hmac.new(master_key, b"accounts among costs", hashlib.sha256).digest()
    return Recorder(ctx, key, enabled=settings.cost_tracking_enabled)


def cost_terms(settings: Settings, ctx: Ctx) -> costs.Terms:
    """How what runs by the hour is recorded."""
    own = Money.usd(str(settings.own_gpu_hour_cost_usd)).nano
    return costs.Terms(recorder(settings, ctx), own_nano_hour=own)


def warn_terms(settings: Settings) -> WarnTerms:
    """When owners are warned, and what they are told."""
    line = Money.usd(str(settings.low_balance_usd))
    return WarnTerms(line_nano=line.nano, grace_days=settings.volume_grace_days)


def ticks(ctx: Ctx, settings: Settings, halt: Callable[[], bool]) -> Mapping[str, Tick]:
    """Each tick by its task's name."""
    owner = f"{socket.gethostname()}:{os.getpid()}"
    mailer = open_mailer(settings)

    async def months() -> object:
        return await invoices.invoice_months(ctx, seller(settings), halt=halt)

    async def receipts() -> object:
        return await invoices.receipts_due(ctx, seller(settings), halt=halt)

    async def spent() -> object:
        return await costs.record_due(ctx, cost_terms(settings, ctx), halt=halt)

    async def warn() -> object:
        return await spending.warn_due(ctx, warn_terms(settings))

    async def mail() -> object:
        return await notices.deliver_mail(ctx, mailer, owner=owner)

    async def keys() -> object:
        return await spending.watch_keys(ctx)

    return {
        tasks.INVOICES: months,
        tasks.RECEIPTS: receipts,
        tasks.COSTS: spent,
        tasks.WARN: warn,
        tasks.MAIL: mail,
        tasks.KEY_LIMITS: keys,
    }
