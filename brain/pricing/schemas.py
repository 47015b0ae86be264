"""Bodies of the price routes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from brain.edge import Body, Line, Name
from brain.pricing.core import Judged, Margin, Package, Quote, ServicePrice, Unit
from kernel.money import Money

Service = Annotated[
    str, StringConstraints(min_length=1, max_length=100, pattern=r"^[a-z0-9][a-z0-9._/-]*$")
]
Nano = Annotated[int, Field(ge=0, le=10**15, strict=True)]


class PriceView(BaseModel):
    """``credits`` for ``per`` units. ``version`` names this row for ever."""

    service: str
    provider: str
    model: str
    unit: Unit
    per: int
    credits: str = Field(description="Decimal, such as 0.8.")
    milli_credits: int
    starts_at: datetime
    version: str

    @classmethod
    def of(cls, price: ServicePrice) -> PriceView:
        return cls(
            service=price.service,
            provider=price.provider,
            model=price.model,
            unit=price.unit,
            per=price.per,
            credits=price.credits_text(),
            milli_credits=price.milli_credits,
            starts_at=price.starts_at,
            version=price.version,
        )


class PackageView(BaseModel):
    name: str
    credits_min: int
    credits_max: int
    usd_min: str
    usd_max: str


class PriceListView(BaseModel):
    """The whole list at one moment."""

    at: datetime
    credit_price_nano: int
    credit_price_usd: str
    prices: list[PriceView]


class QuoteView(BaseModel):
    service: str
    version: str
    units: int
    milli_credits: int
    nano: int
    usd: str

    @classmethod
    def of(cls, quote: Quote) -> QuoteView:
        return cls(
            service=quote.service,
            version=quote.version,
            units=quote.units,
            milli_credits=quote.milli_credits,
            nano=quote.money.nano,
            usd=str(quote.money),
        )


class MarginView(BaseModel):
    """A service against its vendor, for ``per`` units."""

    service: str
    provider: str
    margin: Margin
    sold_nano: int
    vendor_nano_min: int
    vendor_nano_max: int
    sentence: str
    source: str = Field(description="Where the vendor's price was read, and when.")

    @classmethod
    def of(cls, one: Judged) -> MarginView:
        return cls(
            service=one.price.service,
            provider=one.price.provider,
            margin=one.margin,
            sold_nano=one.sold_nano,
            vendor_nano_min=one.price.vendor_nano_min,
            vendor_nano_max=one.price.vendor_nano_max,
            sentence=one.sentence(),
            source=one.price.source,
        )


Meant = Annotated[bool, Field(description="Sold below what the vendor takes: that is meant.")]


class PriceBody(Body):
    """A service's price from ``starts_at`` (now, where it is left out)."""

    service: Service
    provider: Name
    model: Name
    unit: Unit
    per: Annotated[int, Field(ge=1, le=10**6, strict=True)] = 1
    milli_credits: Annotated[int, Field(ge=0, le=10**12, strict=True)]
    vendor_nano_min: Nano
    vendor_nano_max: Nano
    source: Line
    starts_at: AwareDatetime | None = None
    below_cost: Meant = False

    def price(self, now: datetime) -> ServicePrice:
        return ServicePrice(
            service=self.service,
            provider=self.provider,
            model=self.model,
            unit=self.unit,
            per=self.per,
            milli_credits=self.milli_credits,
            vendor_nano_min=self.vendor_nano_min,
            vendor_nano_max=self.vendor_nano_max,
            starts_at=now if self.starts_at is None else self.starts_at.astimezone(UTC),
            source=self.source,
        )


class CreditPriceBody(Body):
    """What one credit is worth from ``starts_at`` (now, where it is left out)."""

    nano: Annotated[int, Field(ge=1, le=10**12, strict=True, description="Nano-dollars.")]
    starts_at: AwareDatetime | None = None
    below_cost: Meant = False


class CreditPriceView(BaseModel):
    nano: int
    usd: str
    starts_at: datetime


class PackageBody(Body):
    """A package's range from ``starts_at`` (now, where it is left out); 0 to 0 withdraws it."""

    name: Name
    credits_min: Annotated[int, Field(ge=0, le=10**12, strict=True)]
    credits_max: Annotated[int, Field(ge=0, le=10**12, strict=True)]
    starts_at: AwareDatetime | None = None

    def package(self, now: datetime) -> Package:
        starts = now if self.starts_at is None else self.starts_at.astimezone(UTC)
        return Package(self.name, self.credits_min, self.credits_max, starts)


def usd(nano: int) -> str:
    return str(Money(nano))
