"""What the payout routes take and give."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from brain.billing import DECIMALS
from brain.edge import Body, Line
from brain.payouts.models import Payout, PayoutDestination
from brain.payouts.statements import Statement, plain
from brain.payouts.states import PayoutState
from kernel.money import Money

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["USD"])]


class DestinationBody(Body):
    """Stripe makes an account for you and answers with the address at which you complete it;
    mobile money needs a number."""

    method: Literal["stripe", "momo"]
    number: Annotated[str, Field(pattern=r"^[1-9]\d{7,14}$", examples=["256772123456"])] | None = (
        None
    )
    currency: Currency = "USD"
    automatic: Annotated[
        bool, Field(strict=True, description="Be paid each period without asking.")
    ] = True


class DestinationView(BaseModel):
    method: str
    address: str = Field(description="Mobile numbers are shown by their last three digits.")
    currency: str
    automatic: bool
    ready: bool
    said: str = Field(description="What is left to do there, when it is not ready.")
    checked_at: datetime
    url: str | None = Field(default=None, description="Where you complete it; good for minutes.")


class PayoutView(BaseModel):
    payout_id: str
    period: str
    state: str
    reason: str
    method: str
    address: str
    amount_nano: int = Field(description="Taken off your earnings, in nano-dollars.")
    amount_usd: str
    sent: str = Field(description="What is sent, in its currency.")
    currency: str
    rate_version: str = Field(description="The dated exchange rate that was used.")
    automatic: bool
    reference: str | None = Field(description="The processor's own; ask it by this.")
    created_at: datetime
    settled_at: datetime | None


class AdminPayoutView(PayoutView):
    account_id: str
    calls: int


class ResolveBody(Body):
    """For a payout of which the processor cannot or does not tell, after a person asked it."""

    outcome: Literal["paid", "failed"]
    reason: Line
    reference: Annotated[str, Field(min_length=1, max_length=100)] | None = None


class CurrencyRateBody(Body):
    currency: Currency
    usd_per_unit: Annotated[str, Field(pattern=r"^\d{1,6}(\.\d{1,9})?$", examples=["0.00027"])]


class CurrencyRateView(BaseModel):
    currency: str
    nano_per_unit: int
    version: str


class StatementLineView(BaseModel):
    what: str = Field(description="earned, taken back, volumes, payout or other")
    id: str = Field(description="The node or the payout.")
    name: str
    bookings: int
    amount_nano: int
    amount_usd: str


class StatementView(BaseModel):
    """The ledger's own lines: opening and all lines are closing, to the nano-dollar."""

    period: str
    since: datetime
    until: datetime
    opening_nano: int
    opening_usd: str
    lines: list[StatementLineView]
    closing_nano: int
    closing_usd: str


def masked(method: str, address: str) -> str:
    """As its owner knows it; a number's middle is nobody's business."""
    return address if method != "momo" else "•" * (len(address) - 3) + address[-3:]


def show_destination(row: PayoutDestination, url: str | None = None) -> DestinationView:
    return DestinationView(
        method=row.method,
        address=masked(row.method, row.address),
        currency=row.currency,
        automatic=row.automatic,
        ready=row.ready,
        said=row.said,
        checked_at=row.checked_at,
        url=url,
    )


def _shown(row: Payout) -> dict[str, object]:
    return {
        "payout_id": row.payout_id,
        "period": row.period,
        "state": PayoutState(row.state).value,
        "reason": row.state_reason,
        "method": row.method,
        "address": masked(row.method, row.address),
        "amount_nano": row.nano,
        "amount_usd": str(Money(row.nano)),
        "sent": amount_text(row.amount_minor, row.currency),
        "currency": row.currency,
        "rate_version": row.rate_version,
        "automatic": row.automatic,
        "reference": row.reference,
        "created_at": row.created_at,
        "settled_at": row.settled_at,
    }


def show_payout(row: Payout) -> PayoutView:
    return PayoutView.model_validate(_shown(row))


def show_for_admin(row: Payout) -> AdminPayoutView:
    more = {"account_id": row.account_id, "calls": row.calls}
    return AdminPayoutView.model_validate(_shown(row) | more)


def amount_text(minor: int, currency: str) -> str:
    """Minor units as people write them: 1234 of USD is 12.34, of UGX 1234."""
    decimals = DECIMALS[currency]
    whole, rest = divmod(minor, 10**decimals)
    return f"{whole}.{rest:0{decimals}d}" if decimals else str(whole)


def show_statement(period: str, found: Statement) -> StatementView:
    return StatementView(
        period=period,
        since=found.period.since,
        until=found.period.until,
        opening_nano=found.opening.nano,
        opening_usd=plain(found.opening),
        lines=[
            StatementLineView(
                what=line.what,
                id=line.subject,
                name=line.name,
                bookings=line.bookings,
                amount_nano=line.nano,
                amount_usd=plain(Money(line.nano)),
            )
            for line in found.lines
        ],
        closing_nano=found.closing.nano,
        closing_usd=plain(found.closing),
    )
