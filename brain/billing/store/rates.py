"""Dated figures: the newest row that has begun counts, and a new row changes nothing before it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from brain.billing.models import JournalTx, Rate
from brain.plumbing import Tx


class RateName(StrEnum):
    CREDIT_PRICE = "credit_price"  # nano-dollars per credit
    PLATFORM_FEE = "platform_fee"  # basis points of the renter's charge
    CLOUD_MARKUP = "cloud_markup"  # basis points on a cloud's price
    STORAGE = "storage_gib_hour"  # nano-dollars per GiB-hour of a volume


async def rate(tx: Tx, name: RateName, at: datetime) -> int:
    """The figure in force at ``at``."""
    value = await tx.scalar(
        select(Rate.value)
        .where(Rate.name == name.value, Rate.starts_at <= at)
        .order_by(Rate.starts_at.desc())
        .limit(1)
    )
    assert value is not None, f"the first row of {name} comes with the migration"
    return int(value)


async def newest(tx: Tx, name: RateName) -> int:
    """The newest figure, for showing."""
    value = await tx.scalar(
        select(Rate.value).where(Rate.name == name.value).order_by(Rate.starts_at.desc()).limit(1)
    )
    assert value is not None, f"the first row of {name} comes with the migration"
    return int(value)


async def begin(tx: Tx, name: RateName, value: int, unit: str, at: datetime) -> None:
    """From ``at`` on, ``value`` counts."""
    row = insert(Rate).values(name=name.value, starts_at=at, value=value, unit=unit)
    await tx.execute(row.on_conflict_do_nothing())


async def credit_price(tx: Tx, at: datetime) -> int:
    """Nano-dollars of one credit."""
    return await rate(tx, RateName.CREDIT_PRICE, at)


async def begin_credit_price(tx: Tx, nano: int, at: datetime) -> bool:
    """From ``at`` on a credit is worth so much; False: another price begins then already."""
    row = insert(Rate).values(
        name=RateName.CREDIT_PRICE.value, starts_at=at, value=nano, unit="nano-dollars per credit"
    )
    done = await tx.execute(row.on_conflict_do_nothing().returning(Rate.name))
    return done.one_or_none() is not None


async def first_credit_price(tx: Tx, nano: int) -> bool:
    """The first row's price, while nothing was ever posted: what was sold keeps its price. True:
    it was set to this."""
    first = select(func.min(Rate.starts_at)).where(Rate.name == RateName.CREDIT_PRICE.value)
    done = await tx.execute(
        update(Rate)
        .where(
            Rate.name == RateName.CREDIT_PRICE.value,
            Rate.starts_at == first.scalar_subquery(),
            Rate.value != nano,
            ~select(JournalTx.id).exists(),
        )
        .values(value=nano)
        .returning(Rate.name)
        .execution_options(synchronize_session=False)
    )
    return done.one_or_none() is not None


async def cloud_markup(tx: Tx, at: datetime) -> int:
    """Basis points that a renter pays on top of a cloud's own price."""
    return await rate(tx, RateName.CLOUD_MARKUP, at)
