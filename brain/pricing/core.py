"""What services cost in credits, and whether that covers what their vendors take. Pure.

A price is thousandths of a credit for ``per`` units, so that 0.8 credits per 1,000 characters is a
whole number. Prices are dated rows: a new one changes nothing before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from kernel.errors import BadInput
from kernel.money import CreditPrice, Money

MILLI = 1000
UNITS_MAX = 10**12


class Unit(StrEnum):
    TOKEN = "token"  # noqa: S105 - of text
    CHARACTER = "character"
    SECOND = "second"
    MINUTE = "minute"
    IMAGE = "image"


@dataclass(frozen=True)
class ServicePrice:
    """One row of the price list. What the vendor takes is for the same ``per`` units: from its
    cheapest unit (a prompt's token) to its dearest (an answer's), in nano-dollars."""

    service: str
    provider: str
    model: str
    unit: Unit
    per: int
    milli_credits: int
    vendor_nano_min: int
    vendor_nano_max: int
    starts_at: datetime
    source: str

    def __post_init__(self) -> None:
        if self.per < 1 or self.milli_credits < 0:
            raise BadInput("A price is for at least one unit, and never negative.", param="per")
        if not 0 <= self.vendor_nano_min <= self.vendor_nano_max:
            raise BadInput("The vendor's least cost is at most its greatest.", param="vendor")

    @property
    def version(self) -> str:
        """Names this row for ever: a charge by it can be recomputed."""
        return f"{self.service}@{self.starts_at:%Y-%m-%dT%H:%M:%SZ}"

    def credits_text(self) -> str:
        whole, rest = divmod(self.milli_credits, MILLI)
        return f"{whole}.{rest:03d}".rstrip("0").rstrip(".")


@dataclass(frozen=True)
class Quote:
    """``units`` of a service: thousandths of a credit and nano-dollars, both rounded up once."""

    service: str
    version: str
    units: int
    milli_credits: int
    money: Money


def quote(price: ServicePrice, units: int, credit: CreditPrice) -> Quote:
    """What so many units cost. The money is exact where the credits are not whole."""
    if not 0 <= units <= UNITS_MAX:
        raise BadInput(f"Ask for 0 to {UNITS_MAX:,} units.", param="units")
    milli = -(-price.milli_credits * units // price.per)
    nano = -(-price.milli_credits * units * credit.nano // (price.per * MILLI))
    return Quote(price.service, price.version, units, milli, Money(nano))


class Margin(StrEnum):
    """What is left of a price after its vendor."""

    COVERED = "covered"
    SOMETIMES_BELOW = "sometimes below cost"  # below the dearest unit, not below the cheapest
    BELOW = "below cost"  # whatever is asked, it is sold at a loss


WORST = (Margin.BELOW, Margin.SOMETIMES_BELOW, Margin.COVERED)


@dataclass(frozen=True)
class Judged:
    price: ServicePrice
    sold_nano: int  # for ``per`` units
    margin: Margin

    def sentence(self) -> str:
        """What an administrator is told."""
        per = f"{self.price.per:,} {self.price.unit}{'s' if self.price.per > 1 else ''}"
        least, most = Money(self.price.vendor_nano_min), Money(self.price.vendor_nano_max)
        cost = f"{least}" if least == most else f"{least} to {most}"
        return (
            f"{self.price.service} is sold at {Money(self.sold_nano)} per {per};"
            f" {self.price.provider} takes {cost}: {self.margin}."
        )


def judged(prices: Iterable[ServicePrice], credit: CreditPrice) -> list[Judged]:
    """Each price against its vendor's cost, the worst first."""
    found = []
    for price in prices:
        sold = price.milli_credits * credit.nano // MILLI
        margin = Margin.COVERED
        if sold < price.vendor_nano_min:
            margin = Margin.BELOW
        elif sold < price.vendor_nano_max:
            margin = Margin.SOMETIMES_BELOW
        found.append(Judged(price, sold, margin))
    return sorted(found, key=lambda one: (WORST.index(one.margin), one.price.service))


def newly_below(before: Iterable[Judged], after: Iterable[Judged]) -> list[Judged]:
    """What loses money now, or more surely so, and did not before."""
    known = {one.price.service: one.margin for one in before}
    return [
        one
        for one in after
        if WORST.index(one.margin) < WORST.index(known.get(one.price.service, Margin.COVERED))
    ]


def refused_sentence(losing: Iterable[Judged]) -> str:
    """Why a price is not taken, and how it is after all."""
    said = " ".join(one.sentence() for one in losing)
    return f"{said} Say below_cost (--below-cost) if that is meant."


def below_cost(prices: Iterable[ServicePrice], credit: CreditPrice) -> list[Judged]:
    """Those that lose money, or may."""
    return [one for one in judged(prices, credit) if one.margin is not Margin.COVERED]


@dataclass(frozen=True)
class Package:
    """A range of credits that is bought at once. ``credits_max`` 0: the package is withdrawn."""

    name: str
    credits_min: int
    credits_max: int
    starts_at: datetime

    def __post_init__(self) -> None:
        withdrawn = self.credits_min == self.credits_max == 0
        if not withdrawn and not 0 < self.credits_min < self.credits_max:
            raise BadInput("A package holds from fewer to more credits.", param="credits_max")


def package_of(packages: Iterable[Package], credits: int) -> Package | None:
    """The package that so many credits are; the larger one at a border. None: between or beside."""
    fitting = [p for p in packages if p.credits_max and p.credits_min <= credits <= p.credits_max]
    return max(fitting, key=lambda p: p.credits_min, default=None)
