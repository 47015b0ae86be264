"""SQL of documents: profiles, numbers without gaps, documents and their lines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert

from brain.invoices.core import Line, LineKind, Paper
from brain.invoices.models import InvoiceLineRow, InvoiceRow, MonthDone, Profile, Series
from brain.plumbing import Tx
from kernel.ids import AccountId, InvoiceId, TxId

_EMPTY = {
    "legal_name": "",
    "address": "",
    "country": "",
    "tax_id": "",
    "email": "",
    "tax_name": "Tax",
    "tax_basis_points": 0,
    "tax_note": "",
}


async def profile(tx: Tx, account: AccountId, now: datetime, *, lock: bool = False) -> Profile:
    """The account's profile, made empty where there is none. ``lock``: no other process issues
    for this account until the transaction ends."""
    row = insert(Profile).values(account_id=account, updated_at=now, **_EMPTY)
    await tx.execute(row.on_conflict_do_nothing())
    query = select(Profile).where(Profile.account_id == account)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return (await tx.scalars(query)).one()


async def next_place(tx: Tx, series: str, year: int) -> int:
    """The next number of the series. Its row stays locked until the transaction ends, so numbers
    are given in the order of commits, and a rollback leaves no gap."""
    row = insert(Series).values(series=series, year=year, last=1)
    place: int | None = await tx.scalar(
        row.on_conflict_do_update(
            index_elements=["series", "year"], set_={"last": Series.last + 1}
        ).returning(Series.last)
    )
    assert place is not None, "an upsert returns its row"
    return place


async def add(tx: Tx, row: InvoiceRow, lines: Sequence[Line]) -> None:
    """Write a document and its lines."""
    tx.add(row)
    await tx.flush()
    for place, line in enumerate(lines, 1):
        tx.add(
            InvoiceLineRow(
                invoice_id=row.id,
                place=place,
                kind=line.kind.value,
                subject=line.subject,
                title=line.title,
                quantity=line.quantity,
                from_ns=line.from_ns,
                until_ns=line.until_ns,
                nano=line.nano,
                cents=line.cents,
            )
        )
    await tx.flush()


async def get(
    tx: Tx, id: InvoiceId, account: AccountId | None = None, *, lock: bool = False
) -> InvoiceRow | None:
    """The document, of this account where one is named."""
    query = select(InvoiceRow).where(InvoiceRow.id == id)
    if account is not None:
        query = query.where(InvoiceRow.account_id == account)
    if lock:
        query = query.with_for_update()
    return await tx.scalar(query)


async def lines(tx: Tx, id: InvoiceId) -> list[Line]:
    rows = await tx.scalars(
        select(InvoiceLineRow).where(InvoiceLineRow.invoice_id == id).order_by(InvoiceLineRow.place)
    )
    return [
        Line(
            LineKind(row.kind),
            row.subject,
            row.title,
            row.quantity,
            row.from_ns,
            row.until_ns,
            row.nano,
            row.cents,
        )
        for row in rows
    ]


async def listed(
    tx: Tx, account: AccountId, *, before: str | None, paper: Paper | None, limit: int
) -> list[InvoiceRow]:
    """Newest first."""
    query = select(InvoiceRow).where(InvoiceRow.account_id == account)
    if before is not None:
        query = query.where(InvoiceRow.id < InvoiceId(before))
    if paper is not None:
        query = query.where(InvoiceRow.paper == paper.value)
    return list(await tx.scalars(query.order_by(InvoiceRow.id.desc()).limit(limit)))


async def last_until(tx: Tx, account: AccountId) -> datetime | None:
    """Where the account's last invoice ended."""
    return await tx.scalar(
        select(func.max(InvoiceRow.period_until)).where(
            InvoiceRow.account_id == account, InvoiceRow.paper == Paper.INVOICE.value
        )
    )


async def corrected(tx: Tx, id: InvoiceId) -> tuple[int, int]:
    """Net and tax cents that credit notes took back of this invoice."""
    found = await tx.execute(
        select(
            func.coalesce(func.sum(-InvoiceRow.net_cents), 0),
            func.coalesce(func.sum(-InvoiceRow.tax_cents), 0),
        ).where(InvoiceRow.corrects == id)
    )
    net, tax = found.one()
    return int(net), int(tax)


async def month_done(tx: Tx, month: date, account: str) -> None:
    row = insert(MonthDone).values(month=month, account_id=account)
    await tx.execute(row.on_conflict_do_nothing())


async def month_is_done(tx: Tx, month: date) -> bool:
    """Was every account looked at for this month?"""
    return await tx.get(MonthDone, (month, "")) is not None


_WAITING = text(
    """
    SELECT b.ledger_account FROM balance b
    WHERE b.asset = 'USD' AND b.ledger_account LIKE 'acct\\_%' AND b.ledger_account NOT LIKE '%:%'
      AND b.ledger_account > :after
      AND NOT EXISTS (SELECT 1 FROM invoice_month m
                      WHERE m.month = :month AND m.account_id = b.ledger_account)
    ORDER BY b.ledger_account LIMIT :limit
    """
)


async def accounts_waiting(tx: Tx, month: date, *, after: str, limit: int) -> list[AccountId]:
    """Accounts with a balance whose month was not looked at yet."""
    rows = await tx.scalars(_WAITING, {"month": month, "after": after, "limit": limit})
    return [AccountId(row) for row in rows]


# Only what the index of purchases has: it is looked at every few seconds.
_PAID = text(
    """
    SELECT DISTINCT e.ledger_account
    FROM journal_tx t JOIN journal_entry e ON e.tx_id = t.id AND e.asset = 'USD'
    WHERE t.kind = 'purchase' AND t.id >= :since AND e.ledger_account > :after
      AND e.ledger_account LIKE 'acct\\_%' AND e.ledger_account NOT LIKE '%:%'
      AND NOT EXISTS (SELECT 1 FROM journal_document d
                      WHERE d.tx_id = t.id AND d.account_id = e.ledger_account)
    ORDER BY 1 LIMIT :limit
    """
)


async def accounts_paid(tx: Tx, *, since: TxId, after: str, limit: int) -> list[AccountId]:
    """Accounts with a top-up since then that has no receipt."""
    rows = await tx.scalars(_PAID, {"since": since, "after": after, "limit": limit})
    return [AccountId(row) for row in rows]


async def gaps(tx: Tx) -> list[tuple[str, int]]:
    """Series and years whose documents are not numbered 1, 2, 3 … to the last number given."""
    counted = (
        select(
            InvoiceRow.series,
            InvoiceRow.year,
            func.count().label("count"),
            func.max(InvoiceRow.place).label("most"),
        )
        .group_by(InvoiceRow.series, InvoiceRow.year)
        .subquery()
    )
    rows = await tx.execute(
        select(Series.series, Series.year)
        .join(
            counted,
            (counted.c.series == Series.series) & (counted.c.year == Series.year),
            isouter=True,
        )
        .where(
            (func.coalesce(counted.c.count, 0) != Series.last)
            | (func.coalesce(counted.c.most, 0) != Series.last)
        )
    )
    return [(row[0], row[1]) for row in rows]
