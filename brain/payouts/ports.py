"""What the room asks of those who pay providers out: one small protocol, errors by what to do.

Rules for every adapter. Amounts are integers in the currency's minor unit. An order's id is the
idempotency key outside. ``look`` is the truth. Every call is bounded in time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from kernel.ids import AccountId, PayoutId


class DisburserError(Exception):
    """Base. ``detail`` may be shown to the provider; ``internal`` is for the log alone."""

    def __init__(self, detail: str, *, internal: object = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.internal = internal


class Declined(DisburserError):
    """Nothing was done, and a repeat would be refused in the same way."""


class NotNow(DisburserError):
    """Nothing was done; the same order may be sent again later."""


class Unsure(DisburserError):
    """It may have been done: look before anything else."""


class PaymentSight(StrEnum):
    PENDING = "pending"  # the processor works on it
    PAID = "paid"
    FAILED = "failed"  # it paid nothing, and will not
    ABSENT = "absent"  # it says that it knows no such order
    UNCLEAR = "unclear"  # it knows it, in words that we do not


@dataclass(frozen=True)
class PayoutOrder:
    """What is to be paid. ``reference`` is the processor's own, once it gave one."""

    id: PayoutId
    provider: AccountId
    address: str  # a connected account, or an MSISDN
    amount_minor: int
    currency: str  # ISO 4217, upper case
    description: str
    reference: str | None = None


@dataclass(frozen=True)
class Sight:
    """The truth about one order, now. ``amount_minor`` and ``currency`` as the processor has them,
    where it tells them."""

    state: PaymentSight
    reference: str | None = None
    reason: str = ""
    amount_minor: int | None = None
    currency: str | None = None


@dataclass(frozen=True)
class Standing:
    """Whether a destination can be paid; ``said`` is what its owner should do when not."""

    ready: bool
    said: str = ""


@dataclass(frozen=True)
class Onboarding:
    """A destination that its owner completes at ``url``."""

    address: str
    url: str


class Disburser(Protocol):
    """Pays providers. ``repeat_seconds``: for so long after its first call ``pay`` may be repeated
    with the same id and pays once; None: for ever."""

    name: str
    repeat_seconds: int | None
    currencies: frozenset[str]

    async def pay(self, order: PayoutOrder) -> Sight: ...

    async def look(self, order: PayoutOrder) -> Sight:
        """What became of it. Raises ``NotNow`` when nobody can say."""
        ...

    async def standing(self, address: str) -> Standing:
        """Can this destination be paid? ``Declined``: it is no such thing."""
        ...

    async def close(self) -> None: ...


class Onboarder(Protocol):
    """A disburser whose destinations are made by us and completed by their owner."""

    async def onboard(self, provider: AccountId, address: str | None) -> Onboarding:
        """Make the destination where there is none yet, once; a fresh link to complete it."""
        ...


@dataclass(frozen=True)
class Disbursers:
    """Those whose keys are set, by the method that a provider chooses."""

    pay: dict[str, Disburser] = field(default_factory=dict)
    onboard: dict[str, Onboarder] = field(default_factory=dict)

    async def close(self) -> None:
        for one in self.pay.values():
            await one.close()
