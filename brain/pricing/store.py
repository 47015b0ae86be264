"""SQL of prices: the newest row of each name that has begun counts."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on, insert

from brain.plumbing import Tx
from brain.pricing.core import Package, ServicePrice, Unit
from brain.pricing.models import PackageRow, ServicePriceRow

VERSIONS_MAX = 200


def _price(row: ServicePriceRow) -> ServicePrice:
    return ServicePrice(
        service=row.service,
        provider=row.provider,
        model=row.model,
        unit=Unit(row.unit),
        per=row.per,
        milli_credits=row.milli_credits,
        vendor_nano_min=row.vendor_nano_min,
        vendor_nano_max=row.vendor_nano_max,
        starts_at=row.starts_at,
        source=row.source,
    )


async def prices(tx: Tx, at: datetime) -> list[ServicePrice]:
    """The price list in force at ``at``, by service."""
    rows = await tx.scalars(
        select(ServicePriceRow)
        .where(ServicePriceRow.starts_at <= at)
        .ext(distinct_on(ServicePriceRow.service))
        .order_by(ServicePriceRow.service, ServicePriceRow.starts_at.desc())
    )
    return [_price(row) for row in rows]


async def price_of(tx: Tx, service: str, at: datetime) -> ServicePrice | None:
    row = await tx.scalar(
        select(ServicePriceRow)
        .where(ServicePriceRow.service == service, ServicePriceRow.starts_at <= at)
        .order_by(ServicePriceRow.starts_at.desc())
        .limit(1)
    )
    return None if row is None else _price(row)


async def versions(tx: Tx, service: str) -> list[ServicePrice]:
    """Every price that a service had, has, or will have; newest first."""
    rows = await tx.scalars(
        select(ServicePriceRow)
        .where(ServicePriceRow.service == service)
        .order_by(ServicePriceRow.starts_at.desc())
        .limit(VERSIONS_MAX)
    )
    return [_price(row) for row in rows]


async def add_price(tx: Tx, price: ServicePrice) -> bool:
    """False: this service has a price from that moment on already."""
    row = insert(ServicePriceRow).values(
        service=price.service,
        starts_at=price.starts_at,
        provider=price.provider,
        model=price.model,
        unit=price.unit.value,
        per=price.per,
        milli_credits=price.milli_credits,
        vendor_nano_min=price.vendor_nano_min,
        vendor_nano_max=price.vendor_nano_max,
        source=price.source,
    )
    done = await tx.execute(row.on_conflict_do_nothing().returning(ServicePriceRow.service))
    return done.one_or_none() is not None


async def packages(tx: Tx, at: datetime) -> list[Package]:
    """What is on sale at ``at``, the smallest first."""
    rows = await tx.scalars(
        select(PackageRow)
        .where(PackageRow.starts_at <= at)
        .ext(distinct_on(PackageRow.name))
        .order_by(PackageRow.name, PackageRow.starts_at.desc())
    )
    found = [Package(r.name, r.credits_min, r.credits_max, r.starts_at) for r in rows]
    return sorted((p for p in found if p.credits_max), key=lambda p: (p.credits_min, p.name))


async def add_package(tx: Tx, package: Package) -> bool:
    row = insert(PackageRow).values(
        name=package.name,
        starts_at=package.starts_at,
        credits_min=package.credits_min,
        credits_max=package.credits_max,
    )
    done = await tx.execute(row.on_conflict_do_nothing().returning(PackageRow.name))
    return done.one_or_none() is not None
