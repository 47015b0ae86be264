"""A document as it is shown: one value for JSON, HTML and PDF alike."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel, Field

from brain.invoices.core import Line, LineKind, Paper, usd
from brain.invoices.models import InvoiceRow
from kernel.clock import NS

TITLES = {
    Paper.INVOICE: "Invoice",
    Paper.CREDIT_NOTE: "Credit note",
    Paper.RECEIPT: "Receipt",
}


class Party(BaseModel):
    """Who sells or buys, as it was when the document was issued."""

    name: str = ""
    address: str = ""
    country: str = ""
    tax_id: str = ""
    email: str = ""


class LineView(BaseModel):
    kind: LineKind
    subject: str
    title: str
    quantity: str
    from_at: datetime | None
    until_at: datetime | None
    nano: int = Field(description="Exact, as the ledger has it.")
    cents: int = Field(description="The lines' cents sum to the net amount.")
    amount: str


class Summary(BaseModel):
    """A document in a list. Amounts in US cents; those of a credit note are below 0."""

    invoice_id: str
    paper: Paper
    number: str
    issued_at: datetime
    period_from: datetime | None
    period_until: datetime | None
    currency: str
    net_cents: int
    tax_cents: int
    gross_cents: int
    total: str
    corrects: str | None


class Document(Summary):
    """A whole document."""

    title: str
    seller: Party
    customer: Party
    customer_account: str
    lines: list[LineView]
    net: str
    net_nano: int
    tax_name: str
    tax_basis_points: int
    tax_rate: str
    tax: str
    settled: str = Field(description="How it was paid: use is paid from prepaid credit.")
    note: str


def summary(row: InvoiceRow) -> Summary:
    return Summary(
        invoice_id=row.id,
        paper=Paper(row.paper),
        number=row.number,
        issued_at=row.issued_at,
        period_from=row.period_from,
        period_until=row.period_until,
        currency=row.currency,
        net_cents=row.net_cents,
        tax_cents=row.tax_cents,
        gross_cents=row.gross_cents,
        total=usd(row.gross_cents),
        corrects=row.corrects,
    )


SETTLED = {
    Paper.INVOICE: "Paid from prepaid credit. Nothing is due.",
    Paper.CREDIT_NOTE: "Given back as prepaid credit.",
    Paper.RECEIPT: "Paid. The amount was added to the account's prepaid credit.",
}


def document(row: InvoiceRow, lines: Sequence[Line]) -> Document:
    paper = Paper(row.paper)
    return Document(
        **summary(row).model_dump(),
        title=TITLES[paper],
        seller=Party(**row.seller),
        customer=Party(**row.customer),
        customer_account=row.account_id,
        lines=[_line(line) for line in lines],
        net=usd(row.net_cents),
        net_nano=row.net_nano,
        tax_name=row.tax_name,
        tax_basis_points=row.tax_basis_points,
        tax_rate=rate(row.tax_basis_points),
        tax=usd(row.tax_cents),
        settled=SETTLED[paper],
        note=row.note,
    )


class Letter(BaseModel):
    subject: str
    text: str


def receipt_words(row: InvoiceRow) -> Letter:
    """What who paid is told of a receipt."""
    total = usd(row.gross_cents)
    return Letter(
        subject=f"Receipt {row.number}: {total}",
        text=f"{total} was added to your prepaid credit. Your receipt is {row.number}.\n\n"
        f"As PDF: ganglion invoices pdf {row.number}, or"
        f" GET /api/v1/billing/invoices/{row.id}/pdf\n",
    )


def _line(line: Line) -> LineView:
    return LineView(
        kind=line.kind,
        subject=line.subject,
        title=line.title,
        quantity=line.quantity,
        from_at=_at(line.from_ns),
        until_at=_at(line.until_ns),
        nano=line.nano,
        cents=line.cents,
        amount=usd(line.cents),
    )


def _at(ns: int | None) -> datetime | None:
    return None if ns is None else datetime.fromtimestamp(ns // NS, UTC)


def rate(basis_points: int) -> str:
    """Such as 19 % or 7.7 %."""
    whole, rest = divmod(basis_points, 100)
    return f"{whole}.{rest:02d}".rstrip("0").rstrip(".") + " %"


def day(at: datetime | None) -> str:
    return "" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d")


def span(line: LineView) -> str:
    """When it was used, to the minute, UTC."""
    if line.from_at is None:
        return ""
    first = line.from_at.strftime("%Y-%m-%d %H:%M")
    return first if line.until_at is None else f"{first} – {line.until_at:%Y-%m-%d %H:%M}"
