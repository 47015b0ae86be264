"""Money in other currencies: amounts in minor units at a dated rate, whose version is kept.

A rate is nano-dollars for one unit of the currency. It is data: without a row for a currency
nothing is taken or paid in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from brain.billing.models import Rate
from brain.plumbing import Tx
from kernel.errors import BadInput, Conflict
from kernel.money import NANO, Money

# Decimals of the minor unit, ISO 4217.
DECIMALS = {
    **dict.fromkeys(("USD", "EUR", "GBP", "SGD", "GHS", "ZMW", "ZAR", "SZL", "LRD", "NGN"), 2),
    **dict.fromkeys(("UGX", "RWF", "XAF", "XOF", "GNF"), 0),
}
USD = "USD"
_NAME = "usd_per_"


@dataclass(frozen=True)
class CurrencyRate:
    """``version`` names the dated row, so that an amount can be recomputed for ever."""

    currency: str
    nano_per_unit: int
    decimals: int
    version: str

    def minor_of(self, money: Money) -> int:
        """The most minor units that this much money covers."""
        return money.nano * int(10**self.decimals) // self.nano_per_unit

    def money_of(self, minor: int) -> Money:
        """What so many minor units are worth, rounded up to a nano-dollar."""
        return Money(-(-minor * self.nano_per_unit // int(10**self.decimals)))


def decimals_of(currency: str) -> int:
    """Of a currency that we know, else ``BadInput``."""
    found = DECIMALS.get(currency)
    if found is None:
        known = ", ".join(sorted(DECIMALS))
        raise BadInput(f"{currency[:8]!r} is not one of our currencies: {known}.", param="currency")
    return found


async def currency_rate(tx: Tx, currency: str, at: datetime) -> CurrencyRate:
    """The rate in force at ``at``; ``Conflict`` while an administrator has set none."""
    decimals = decimals_of(currency)
    if currency == USD:
        return CurrencyRate(USD, NANO, decimals, USD)
    row = (
        await tx.execute(
            select(Rate.value, Rate.starts_at)
            .where(Rate.name == _NAME + currency, Rate.starts_at <= at)
            .order_by(Rate.starts_at.desc())
            .limit(1)
        )
    ).one_or_none()
    if row is None:
        raise Conflict(
            f"There is no exchange rate for {currency} yet; an administrator sets one first.",
            code="no_exchange_rate",
        )
    version = f"{currency}@{row.starts_at.astimezone(UTC).isoformat(timespec='microseconds')}"
    return CurrencyRate(currency, int(row.value), decimals, version)


async def set_currency_rate(tx: Tx, currency: str, usd_per_unit: Money, at: datetime) -> None:
    """From ``at`` on, a unit of ``currency`` is worth so much. What was before stays as it was."""
    decimals_of(currency)
    if currency == USD or usd_per_unit.nano <= 0:
        raise BadInput("Say what a unit of another currency is worth in dollars.", param="currency")
    row = insert(Rate).values(
        name=_NAME + currency,
        starts_at=at,
        value=usd_per_unit.nano,
        unit=f"nano-dollars per {currency}",
    )
    done = await tx.execute(row.on_conflict_do_nothing().returning(Rate.value))
    if done.one_or_none() is None:
        raise Conflict("There is a rate from this very moment already; it stays as it is.")
