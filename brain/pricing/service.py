"""Prices and packages: read, quoted, and begun from a moment on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from brain import billing
from brain.plumbing import Ctx, Tx, audit
from brain.pricing import core, store
from brain.pricing.core import Judged, Package, Quote, ServicePrice
from kernel.errors import BadInput, Conflict, NotFound
from kernel.money import CreditPrice

AT_ONCE = timedelta(seconds=30)  # so long a request may take


async def credit_price(tx: Tx, at: datetime) -> CreditPrice:
    """What one credit is worth at ``at``."""
    return CreditPrice(await billing.credit_price(tx, at))


async def quoted(tx: Tx, service: str, units: int, at: datetime) -> Quote:
    """What so many units of a service cost at ``at``; ``NotFound`` for what has no price."""
    price = await store.price_of(tx, service, at)
    if price is None:
        raise NotFound(f"There is no price for {service[:80]!r}; look at GET /api/v1/prices.")
    return core.quote(price, units, await credit_price(tx, at))


async def below_cost(tx: Tx, at: datetime) -> list[Judged]:
    """Services that are sold below what their vendors take, or may be."""
    return core.below_cost(await store.prices(tx, at), await credit_price(tx, at))


async def begin_price(
    ctx: Ctx, actor: str, price: ServicePrice, *, below_cost: bool = False
) -> ServicePrice:
    """From ``starts_at`` on this price counts. Never in the past: what was charged stays right.
    One below what the vendor takes is ``BadInput`` unless ``below_cost`` says that it is meant."""
    async with ctx.db.begin() as tx:
        price = replace(price, starts_at=_begins(ctx, price.starts_at))
        losing = core.below_cost([price], await credit_price(tx, price.starts_at))
        if losing and not below_cost:
            raise BadInput(core.refused_sentence(losing), code="below_cost", param="milli_credits")
        if not await store.add_price(tx, price):
            raise Conflict(f"{price.service} has a price from that moment on; take a later one.")
        detail: audit.Detail = {
            "version": price.version,
            "milli_credits": price.milli_credits,
            "per": price.per,
            "below_cost": bool(losing),
        }
        await audit.record(tx, ctx, actor, "pricing.price", price.service, detail)
    return price


async def begin_credit_price(
    ctx: Ctx, actor: str, nano: int, starts_at: datetime, *, below_cost: bool = False
) -> datetime:
    """From ``starts_at`` on a credit is worth so much. Balances are money, and do not change.
    ``BadInput`` where a service would lose money by it that does not yet, unless it is meant."""
    async with ctx.db.begin() as tx:
        starts_at = _begins(ctx, starts_at)
        found = await store.prices(tx, starts_at)
        before = core.judged(found, await credit_price(tx, starts_at))
        losing = core.newly_below(before, core.judged(found, CreditPrice(nano)))
        if losing and not below_cost:
            raise BadInput(core.refused_sentence(losing), code="below_cost", param="nano")
        if not await billing.begin_credit_price(tx, nano, starts_at):
            raise Conflict("Another price of a credit begins then already; take a later moment.")
        await audit.record(tx, ctx, actor, "pricing.credit_price", "credit_price", {"nano": nano})
    return starts_at


async def begin_package(ctx: Ctx, actor: str, package: Package) -> Package:
    """From ``starts_at`` on the package is sold with this range; 0 to 0 withdraws it."""
    async with ctx.db.begin() as tx:
        package = replace(package, starts_at=_begins(ctx, package.starts_at))
        if not await store.add_package(tx, package):
            raise Conflict(f"{package.name} has a range from that moment on; take a later one.")
        detail = {"credits_min": package.credits_min, "credits_max": package.credits_max}
        await audit.record(tx, ctx, actor, "pricing.package", package.name, detail)
    return package


def _begins(ctx: Ctx, starts_at: datetime) -> datetime:
    """What was meant to begin with the request begins now; earlier is refused."""
    now = ctx.clock.now()
    if starts_at < now - AT_ONCE:
        raise BadInput("A price begins now or later, never in the past.", param="starts_at")
    return max(starts_at, now)
