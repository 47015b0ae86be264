"""Bodies of the payment routes. Amounts of dollars are decimal texts."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from brain.edge import Body, Line
from brain.payments.models import AutoRefill, TopUp, TopUpReversal
from brain.payments.ports import Card
from kernel.money import Money

Dollars = Annotated[str, Field(pattern=r"^\d{1,6}(\.\d{1,2})?$", examples=["25"])]
Reference = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_+-]+$")]
Method = Literal["card", "page", "mobile_money", "crypto"]


class PaymentsOut(BaseModel):
    """What can be paid with here, and within which limits."""

    methods: list[str]
    least_usd: str
    most_usd: str
    refund_days: int
    publishable_key: str = Field(description="For the processor's fields in a web page.")


class TopUpBody(Body):
    """Either dollars or credits. ``card`` pays by a saved card, ``page`` on the processor's."""

    amount_usd: Dollars | None = None
    credits: Annotated[int, Field(ge=1, le=10**10, strict=True)] | None = None
    method: Method = "card"
    card: Reference | None = Field(default=None, description="Without it the default one.")
    phone: Annotated[str, Field(pattern=r"^\+?[0-9]{6,15}$")] | None = None

    @model_validator(mode="after")
    def one_amount(self) -> Self:
        if (self.amount_usd is None) == (self.credits is None):
            raise ValueError("give the amount as amount_usd or as credits")
        if (self.method == "mobile_money") != (self.phone is not None):
            raise ValueError("mobile_money, and it alone, needs a phone")
        return self

    @property
    def payer(self) -> str | None:
        return self.card if self.method == "card" else self.phone


class RefundBody(Body):
    """Without an amount all that is unused goes back."""

    amount_usd: Dollars | None = None
    reason: Line = "asked for by its owner"


class SettleBody(Body):
    """What a person found out about a parked top-up, and did."""

    reason: Line


class ReversalOut(BaseModel):
    refund_id: str
    kind: str
    state: str = Field(description="planned, stands (it left us) or returned (you have it again).")
    amount_usd: str
    reason: str
    at: str


class TopUpOut(BaseModel):
    """``url``: where its payer may act. ``reason`` says why it waits or failed."""

    topup_id: str
    account_id: str
    state: str
    reason: str
    amount_usd: str
    amount_minor: int
    currency: str
    method: str
    payer: str
    automatic: bool
    needs_new_card: bool
    url: str | None
    reversed_usd: str
    disputed: bool
    created_at: str
    paid_at: str | None
    reversals: list[ReversalOut] = []


class TopUpWhole(TopUpOut):
    client_secret: str | None = Field(
        default=None, description="While it needs its payer: for the processor's fields in a page."
    )


class ReceiptOut(BaseModel):
    """What was paid and credited. A receipt of a payment is no invoice: tax stands on invoices
    of use."""

    topup_id: str
    account_id: str
    paid_at: str
    amount: str
    amount_minor: int
    currency: str
    rate_version: str
    credit_usd: str
    credit_nano: int
    paid_by: str
    processor: str
    payment: str
    ledger_key: str
    reversals: list[ReversalOut]
    kept_usd: str = Field(description="What was paid, less what went back.")
    note: str = "This is a receipt of a payment, not an invoice."


class CardOut(BaseModel):
    card: str
    brand: str
    last4: str
    expires: str
    default: bool


class CardsOut(BaseModel):
    cards: list[CardOut]


class AddCardBody(Body):
    """``page``: on the processor's page; ``fields``: in ours, with a client secret."""

    how: Literal["page", "fields"] = "page"


class CardSetupOut(BaseModel):
    setup: str
    url: str | None
    client_secret: str | None


class RefillBody(Body):
    """When spendable credit is below ``threshold_usd``, ``amount_usd`` is topped up."""

    enabled: Annotated[bool, Field(strict=True)]
    threshold_usd: Dollars = "10"
    amount_usd: Dollars = "25"
    day_max_usd: Dollars = "100"
    month_max_usd: Dollars = "1000"
    card: Reference | None = Field(default=None, description="Without it the default one.")


class RefillOut(BaseModel):
    enabled: bool
    threshold_usd: str
    amount_usd: str
    day_max_usd: str
    month_max_usd: str
    card: str
    card_label: str
    said: str = Field(description="Why it waits, or why it turned itself off.")


def show_card(card: Card) -> CardOut:
    return CardOut(
        card=card.reference,
        brand=card.brand,
        last4=card.last4,
        expires=f"{card.exp_month:02}/{card.exp_year}",
        default=card.default,
    )


def show_reversal(row: TopUp, one: TopUpReversal) -> ReversalOut:
    return ReversalOut(
        refund_id=one.refund_id,
        kind=one.kind,
        state=one.state,
        amount_usd=str(Money(one.amount_minor * row.rate_nano)),
        reason=one.state_reason if not one.ours else one.why,
        at=one.state_at.isoformat(),
    )


def show_topup(row: TopUp, reversals: list[TopUpReversal]) -> TopUpWhole:
    gone = sum(one.amount_minor for one in reversals if one.state != "returned")
    return TopUpWhole(
        topup_id=row.topup_id,
        account_id=row.account_id,
        state=row.state,
        reason=row.state_reason,
        amount_usd=str(Money(row.credit_nano)),
        amount_minor=row.amount_minor,
        currency=row.currency,
        method=row.method,
        payer=row.payer_label,
        automatic=row.automatic,
        needs_new_card=row.hard and row.state == "failed",
        url=row.url if row.state == "needs_payer" else None,
        reversed_usd=str(Money(gone * row.rate_nano)),
        disputed=row.disputed,
        created_at=row.created_at.isoformat(),
        paid_at=None if row.paid_at is None else row.paid_at.isoformat(),
        reversals=[show_reversal(row, one) for one in reversals],
    )


def show_receipt(row: TopUp, reversals: list[TopUpReversal]) -> ReceiptOut:
    assert row.paid_at is not None, "only what is paid has a receipt"
    gone = sum(one.amount_minor for one in reversals if one.state != "returned")
    return ReceiptOut(
        topup_id=row.topup_id,
        account_id=row.account_id,
        paid_at=row.paid_at.isoformat(),
        amount=_amount(row),
        amount_minor=row.amount_minor,
        currency=row.currency,
        rate_version=row.rate_version,
        credit_usd=str(Money(row.credit_nano)),
        credit_nano=row.credit_nano,
        paid_by=row.payer_label or row.method,
        processor=row.processor,
        payment=row.payment or row.reference or "",
        ledger_key=f"topup/{row.topup_id}",
        reversals=[show_reversal(row, one) for one in reversals],
        kept_usd=str(Money((row.amount_minor - gone) * row.rate_nano)),
    )


def _amount(row: TopUp) -> str:
    if row.currency == "USD":
        return str(Money(row.credit_nano))
    return f"{row.amount_minor} {row.currency} (minor units)"


def show_refill(row: AutoRefill | None) -> RefillOut:
    if row is None:
        told = RefillBody(enabled=False).model_dump(exclude={"card", "enabled"})
        shown = {name: str(Money.usd(usd)) for name, usd in told.items()}
        return RefillOut(enabled=False, **shown, card="", card_label="", said="off")
    return RefillOut(
        enabled=row.enabled,
        threshold_usd=str(Money(row.threshold_nano)),
        amount_usd=str(Money(row.amount_nano)),
        day_max_usd=str(Money(row.day_max_nano)),
        month_max_usd=str(Money(row.month_max_nano)),
        card=row.card,
        card_label=row.card_label,
        said=row.said,
    )
