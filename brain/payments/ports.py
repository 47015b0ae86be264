"""What the room asks of payment processors: small protocols, and errors by what can be done.

Rules for every adapter. Amounts are integers in the currency's minor unit. An order's id is the
idempotency key outside: ``begin`` and ``refund`` may be repeated with the same id at any time, and
take or give money once. ``look`` is the truth; a hint only says where to look. Every call is
bounded in time. Whatever goes wrong is a ``PaymentError``. Card numbers never come near us.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from kernel.ids import AccountId, RefundId, TopUpId


class PaymentError(Exception):
    """Base. ``detail`` may be shown to the payer; ``internal`` is for the log alone."""

    def __init__(self, detail: str, *, internal: object = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.internal = internal


class Away(PaymentError):
    """It did not answer, or nobody knows what it did: repeat later with the same id."""

    def __init__(
        self, detail: str, *, internal: object = None, retry_after: int | None = None
    ) -> None:
        super().__init__(detail, internal=internal)
        self.retry_after = retry_after


class PayerRefused(PaymentError):
    """The payer's card, phone or wallet was refused; nothing was taken.

    ``hard``: it will not work later either: the payer must use another one.
    """

    def __init__(self, detail: str, *, code: str, hard: bool, internal: object = None) -> None:
        super().__init__(detail, internal=internal)
        self.code = code
        self.hard = hard


class PaymentRefused(PaymentError):
    """The processor will never do this, as it is asked; nothing was taken or given."""


class CredentialsRefused(PaymentError):
    """The processor does not know our key; a person must mend the settings."""


class Forged(PaymentError):
    """A message that the processor did not sign, or that is too old."""


class PaymentState(StrEnum):
    PENDING = "pending"  # the processor works on it
    NEEDS_PAYER = "needs_payer"  # someone must act: at the url, or with the client secret
    SUCCEEDED = "succeeded"  # the money is ours
    FAILED = "failed"  # nothing was taken, and nothing will be
    UNKNOWN = "unknown"  # the processor does not know this reference (yet)


@dataclass(frozen=True)
class Order:
    """What is to be taken. ``id`` is the idempotency key outside."""

    id: TopUpId
    account: AccountId
    amount_minor: int
    currency: str  # ISO 4217, upper case
    payer: str | None  # a stored card's reference, or an MSISDN; None: chosen on the page
    description: str
    off_session: bool  # nobody is there to act
    customer: str | None = None  # the processor's reference of the account, where it has one
    return_url: str | None = None  # where the processor's page sends the payer afterwards


@dataclass(frozen=True)
class Begun:
    """``reference``: what ``look`` is asked by; kept before anything else is done."""

    reference: str
    state: PaymentState
    url: str | None = None
    client_secret: str | None = field(default=None, repr=False)


class ReversalKind(StrEnum):
    REFUND = "refund"
    DISPUTE = "dispute"


@dataclass(frozen=True)
class Reversal:
    """Money of a payment that went back, or was to. ``stands`` False: it came to us again
    (a refund that failed, a dispute that was won) or never left."""

    reference: str
    kind: ReversalKind
    amount_minor: int
    stands: bool
    fee_minor: int = 0  # what the processor keeps for it, so far
    refund_id: str | None = None  # ours, when we asked for it
    settled: bool = True  # nothing of it will change by itself any more
    reason: str = ""


@dataclass(frozen=True)
class Seen:
    """The truth about one payment, now. ``reversals`` names each refund and dispute; an adapter
    that cannot name them gives the totals alone."""

    state: PaymentState
    amount_minor: int
    currency: str
    reason: str | None = None  # why it failed or waits, for the payer
    refunded_minor: int = 0
    disputed: bool = False
    retry_allowed: bool = True  # False: the same card, phone or wallet will not do
    reversals: tuple[Reversal, ...] = ()
    payment: str | None = None  # the payment's own reference, where ``reference`` is a page's
    fee_minor: int | None = None  # None: not known yet
    url: str | None = None
    client_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Hint:
    """Which order to look at; never believed further. ``order_id``: our own id, if it has one."""

    event_id: str
    kind: str
    reference: str | None
    order_id: str | None = None


@dataclass(frozen=True)
class RefundOrder:
    """``id`` is the idempotency key outside. ``reference`` is the payment's, as ``begin`` gave."""

    id: RefundId
    reference: str
    amount_minor: int
    currency: str
    reason: str


@dataclass(frozen=True)
class RefundSeen:
    """PENDING and SUCCEEDED: the money is on its way back. FAILED: it stays with us."""

    reference: str
    state: PaymentState
    reason: str | None = None


@dataclass(frozen=True)
class Card:
    """A saved card as people know it."""

    reference: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    default: bool = False


@dataclass(frozen=True)
class CardSetup:
    """How a person adds a card: on the processor's page, or with the client secret in ours."""

    reference: str
    client_secret: str | None = field(default=None, repr=False)
    url: str | None = None


@dataclass(frozen=True)
class Line:
    """One change of our balance at the processor. ``payment``: which payment it belongs to."""

    reference: str
    kind: str
    amount_minor: int  # before the fee
    fee_minor: int
    currency: str
    payment: str | None
    at: datetime


class Collector(Protocol):
    """Takes money from a payer."""

    name: str

    async def begin(self, order: Order) -> Begun:
        """Start taking the money, or learn that it was started: once for an order's id."""
        ...

    async def look(self, reference: str) -> Seen:
        """What became of it. Raises ``Away`` only when nobody can say now."""
        ...


class Finder(Protocol):
    """A collector that can look for an order by our own id, when the answer was lost."""

    async def find(self, order: Order) -> str | None:
        """The reference of what was begun for this order; None: nothing was, so far."""
        ...


class Canceller(Protocol):
    """A collector that can also call off what the payer has not paid yet."""

    async def cancel(self, reference: str) -> None:
        """Call it off where that is still possible; what was paid stays paid. May be repeated."""
        ...


class HintReader(Protocol):
    """Reads a webhook or callback."""

    name: str

    def read(self, headers: Mapping[str, str], body: bytes) -> Hint | None:
        """The hint; None: nothing that concerns a payment. Raises ``Forged``."""
        ...


class Refunder(Protocol):
    async def refund(self, refund: RefundOrder) -> RefundSeen:
        """Give back, once for a refund's id. ``PaymentRefused``: it will never be given."""
        ...


class RefundLooker(Protocol):
    """A refunder whose refunds are looked at one by one: looks at payments tell nothing of them."""

    async def refund_seen(self, refund: RefundOrder) -> RefundSeen | None:
        """What became of it; None: no such refund is known."""
        ...


class CardKeeper(Protocol):
    """Customers and their saved cards."""

    async def customer(self, account: AccountId) -> str:
        """The reference of the customer for this account; made when there is none. Once."""
        ...

    async def setup(self, customer: str, *, key: str, return_url: str | None) -> CardSetup:
        """Begin to add a card, for payments when nobody is there too."""
        ...

    async def cards(self, customer: str) -> list[Card]: ...

    async def remove(self, customer: str, card: str) -> None:
        """Forget a card; ``PaymentRefused`` when the customer has none of this reference."""
        ...

    async def make_default(self, customer: str, card: str) -> None: ...


class Statement(Protocol):
    """The processor's own books about our balance."""

    async def lines(self, since: datetime, until: datetime) -> list[Line]:
        """All lines made at ``since`` or later and before ``until``, the oldest first."""
        ...
