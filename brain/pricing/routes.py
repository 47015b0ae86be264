"""HTTP of prices: the list, packages, a quote; for administrators new rows and what loses money."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime

from brain.edge import get_ctx
from brain.identity import Principal, admin_user, anyone
from brain.plumbing import Ctx
from brain.pricing import core, service, store
from brain.pricing.schemas import (
    CreditPriceBody,
    CreditPriceView,
    MarginView,
    PackageBody,
    PackageView,
    PriceBody,
    PriceListView,
    PriceView,
    QuoteView,
    usd,
)

router = APIRouter(prefix="/api/v1", tags=["billing"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
ReaderIn = Annotated[Principal, Depends(anyone("read"))]
AdminIn = Annotated[Principal, Depends(admin_user)]
At = Annotated[AwareDatetime | None, Query(description="The list as it was or will be then.")]
ServiceName = Annotated[str, Query(min_length=1, max_length=100)]


@router.get("/prices")
async def price_list(principal: ReaderIn, ctx: CtxIn, at: At = None) -> PriceListView:
    """Every service's price in credits, and what a credit is worth."""
    moment = _moment(ctx, at)
    async with ctx.db.begin() as tx:
        found = await store.prices(tx, moment)
        credit = await service.credit_price(tx, moment)
    return PriceListView(
        at=moment,
        credit_price_nano=credit.nano,
        credit_price_usd=usd(credit.nano),
        prices=[PriceView.of(price) for price in found],
    )


@router.get("/prices/versions")
async def price_versions(name: ServiceName, principal: ReaderIn, ctx: CtxIn) -> list[PriceView]:
    """All prices that a service had, has, or will have; newest first."""
    async with ctx.db.begin() as tx:
        return [PriceView.of(price) for price in await store.versions(tx, name)]


@router.get("/prices/quote")
async def price_quote(
    name: ServiceName,
    units: Annotated[int, Query(ge=0, le=core.UNITS_MAX)],
    principal: ReaderIn,
    ctx: CtxIn,
    at: At = None,
) -> QuoteView:
    """What so many units of a service cost."""
    async with ctx.db.begin() as tx:
        return QuoteView.of(await service.quoted(tx, name, units, _moment(ctx, at)))


@router.get("/credits/packages")
async def credit_packages(principal: ReaderIn, ctx: CtxIn) -> list[PackageView]:
    """Ranges of credits that are sold, the smallest first."""
    now = ctx.clock.now()
    async with ctx.db.begin() as tx:
        found = await store.packages(tx, now)
        credit = await service.credit_price(tx, now)
    return [
        PackageView(
            name=package.name,
            credits_min=package.credits_min,
            credits_max=package.credits_max,
            usd_min=usd(package.credits_min * credit.nano),
            usd_max=usd(package.credits_max * credit.nano),
        )
        for package in found
    ]


@router.get("/admin/prices/margins")
async def price_margins(
    principal: AdminIn,
    ctx: CtxIn,
    losing: Annotated[bool, Query(description="Only those that lose money, or may.")] = False,
) -> list[MarginView]:
    """Each service against what its vendor takes, those that lose money first."""
    now = ctx.clock.now()
    async with ctx.db.begin() as tx:
        credit = await service.credit_price(tx, now)
        found = core.judged(await store.prices(tx, now), credit)
    shown = [one for one in found if not losing or one.margin is not core.Margin.COVERED]
    return [MarginView.of(one) for one in shown]


@router.post("/admin/prices", status_code=201)
async def new_price(body: PriceBody, principal: AdminIn, ctx: CtxIn) -> PriceView:
    """Begin a new price of a service; what was charged before keeps its own. 422 ``below_cost``
    where it is less than the vendor takes and that is not said to be meant."""
    price = body.price(ctx.clock.now())
    made = await service.begin_price(ctx, principal.actor, price, below_cost=body.below_cost)
    return PriceView.of(made)


@router.post("/admin/credit-price", status_code=201)
async def new_credit_price(
    body: CreditPriceBody, principal: AdminIn, ctx: CtxIn
) -> CreditPriceView:
    """Begin a new price of a credit. Balances are money: they are then shown as other credits."""
    starts = await service.begin_credit_price(
        ctx,
        principal.actor,
        body.nano,
        _moment(ctx, body.starts_at),
        below_cost=body.below_cost,
    )
    return CreditPriceView(nano=body.nano, usd=usd(body.nano), starts_at=starts)


@router.post("/admin/packages", status_code=201)
async def new_package(body: PackageBody, principal: AdminIn, ctx: CtxIn) -> PackageView:
    """Begin a new range of a package, or a new package."""
    package = await service.begin_package(ctx, principal.actor, body.package(ctx.clock.now()))
    async with ctx.db.begin() as tx:
        credit = await service.credit_price(tx, package.starts_at)
    return PackageView(
        name=package.name,
        credits_min=package.credits_min,
        credits_max=package.credits_max,
        usd_min=usd(package.credits_min * credit.nano),
        usd_max=usd(package.credits_max * credit.nano),
    )


def _moment(ctx: Ctx, at: datetime | None) -> datetime:
    return ctx.clock.now() if at is None else at.astimezone(UTC)
