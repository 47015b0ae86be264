"""Invoices of real use: what stands on them, their numbers, and that they never change."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from brain.billing import Grant, grant
from brain.invoices import core, invoice_months, issue_receipts, receipts_due, store
from brain.invoices.models import InvoiceRow
from brain.invoices.service import Period, issue
from brain.plumbing import Ctx, Killed
from kernel.clock import ManualClock
from kernel.errors import Conflict
from kernel.ids import AccountId
from tests.integration.brain.billing.stage import Stage
from tests.integration.brain.invoices.books import SELLER, Books
from tests.support.brain import signed_up


@pytest.fixture
def books(ctx: Ctx, clock: ManualClock) -> Books:
    return Books(Stage(ctx, clock))


class DiesAt:
    """Five times."""

    def __init__(self, name: str) -> None:
        self.name, self.left = name, 5

    async def reach(self, name: str) -> None:
        if name == self.name and self.left:
            self.left -= 1
            raise Killed


async def invoiced(books: Books, account: AccountId) -> InvoiceRow:
    return await issue(books.ctx, SELLER, account, Period(books.ctx.clock.now()))


async def lines_of(books: Books, row: InvoiceRow) -> list[core.Line]:
    async with books.ctx.db.begin() as tx:
        return await store.lines(tx, row.id)


@pytest.mark.feature("H5")
async def test_lines_of_every_kind_sum_to_the_ledger_and_to_the_total(books: Books) -> None:
    account = await books.stage.rich()
    await books.own(account, 601)
    await books.own(account, 67, mode="pod")
    await books.shared(account, 7)
    await books.volume(account, 13, 5)
    row = await invoiced(books, account)
    lines = await lines_of(books, row)
    assert [line.kind.value for line in lines] == ["deployment", "pod", "shared", "storage"]
    assert sum(line.nano for line in lines) == row.net_nano == await books.sum_of_use(account)
    assert sum(line.cents for line in lines) == row.net_cents == core.cents(row.net_nano)
    assert [line.quantity for line in lines][-1] == "65.000000 GiB-h"


@pytest.mark.feature("H5")
async def test_use_stands_on_one_invoice_only(books: Books) -> None:
    account = await books.stage.rich()
    await books.volume(account, 100, 10)
    first = await invoiced(books, account)
    with pytest.raises(Conflict):
        await invoiced(books, account)
    await books.volume(account, 100, 20)
    second = await invoiced(books, account)
    assert first.net_nano + second.net_nano == await books.sum_of_use(account)
    assert second.period_from == first.period_until


@pytest.mark.feature("H5")
async def test_numbers_have_no_gap_under_concurrency_and_rollback(books: Books) -> None:
    accounts = [await books.stage.rich() for _ in range(12)]
    for account in accounts:
        await books.volume(account, 100, 10)
    ctx = replace(books.ctx, points=DiesAt("invoices.numbered"))

    async def one(account: AccountId) -> None:
        while True:
            try:
                await issue(ctx, SELLER, account, Period(ctx.clock.now()))
                return
            except Killed:
                continue

    await asyncio.gather(*(one(account) for account in accounts))
    numbers = await books.stage.one("SELECT array_agg(place ORDER BY place) FROM invoice")
    assert numbers == list(range(1, 13))
    async with books.ctx.db.begin() as tx:
        assert await store.gaps(tx) == []


@pytest.mark.feature("H5")
async def test_many_at_once_issue_one_invoice(books: Books) -> None:
    account = await books.stage.rich()
    await books.volume(account, 100, 10)
    await issue_receipts(books.ctx, SELLER, account)  # its profile stands: no insert orders them
    tried = await asyncio.gather(
        *(invoiced(books, account) for _ in range(6)), return_exceptions=True
    )
    assert sum(isinstance(one, InvoiceRow) for one in tried) == 1
    assert sum(isinstance(one, Conflict) for one in tried) == 5


@pytest.mark.feature("H5")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE invoice SET net_cents = 0, gross_cents = 0",
        "DELETE FROM invoice_line",
        "TRUNCATE invoice CASCADE",
        "UPDATE journal_document SET document_id = ''",
    ],
)
async def test_what_is_issued_never_changes(books: Books, statement: str) -> None:
    account = await books.stage.rich()
    await books.volume(account, 100, 10)
    await invoiced(books, account)
    with pytest.raises(DBAPIError, match="immutable"):
        async with books.ctx.db.begin() as tx:
            await tx.execute(text(statement))


@pytest.mark.feature("H5")
async def test_the_database_refuses_lines_that_do_not_sum(books: Books) -> None:
    account = await books.stage.rich()
    await books.volume(account, 100, 10)
    row = await invoiced(books, account)
    with pytest.raises(DBAPIError, match="sum to"):
        async with books.ctx.db.begin() as tx:
            await tx.execute(
                text(
                    "INSERT INTO invoice SELECT ('inv_' || repeat('0', 32)), paper, series, year,"
                    " place + 1, 'X', account_id, month, period_from, period_until, issued_at,"
                    " currency, net_nano, net_cents, tax_name, tax_basis_points, tax_cents,"
                    " gross_cents, note, corrects, seller, customer FROM invoice WHERE id = :id"
                ),
                {"id": row.id},
            )


@pytest.mark.feature("H5")
async def test_a_month_is_invoiced_once_whoever_asks(books: Books, clock: ManualClock) -> None:
    accounts = [await books.stage.rich() for _ in range(3)]
    for account in accounts[:2]:
        await books.volume(account, 100, 10)
    clock.advance(32 * 86_400)
    counts = await asyncio.gather(*(invoice_months(books.ctx, SELLER) for _ in range(4)))
    assert sum(counts) == 2
    assert await invoice_months(books.ctx, SELLER) == 0
    months = await books.stage.one(
        "SELECT array_agg(DISTINCT month) FROM invoice WHERE paper = 'invoice'"
    )
    assert months == [core.month_before(clock.now())[0].date()]


@pytest.mark.feature("H5")
async def test_what_commits_after_an_invoice_comes_onto_the_next(
    books: Books, clock: ManualClock
) -> None:
    """Its time lies before the invoice's end: a cursor by time or id would lose it."""
    account = await books.stage.rich()
    await books.volume(account, 100, 10)
    early = clock.now_ns()
    clock.advance(60)
    await invoiced(books, account)
    clock.set_wall(early)
    await books.volume(account, 100, 30)
    clock.advance(61)
    late = await invoiced(books, account)
    assert late.net_nano == 140_000 * 100 * 30


@pytest.mark.feature("H5")
async def test_a_top_up_gets_a_receipt_without_tax(books: Books) -> None:
    account = await books.stage.rich(dollars=50)
    assert [await issue_receipts(books.ctx, SELLER, account) for _ in range(2)] == [1, 0]
    async with books.ctx.db.begin() as tx:
        (row,) = await store.listed(tx, account, before=None, paper=core.Paper.RECEIPT, limit=9)
    assert (row.gross_cents, row.tax_cents, row.number[:4]) == (5_000, 0, "RCT-")


@pytest.mark.feature("H5", "H1")
async def test_top_ups_get_receipts_without_being_asked_and_numbers_have_no_gap(
    books: Books,
) -> None:
    accounts = [await books.stage.rich(dollars=50) for _ in range(12)]
    ctx = replace(books.ctx, points=DiesAt("invoices.receipt_numbered"))

    async def tick() -> None:
        while True:
            try:
                await receipts_due(ctx, SELLER)
                return
            except Killed:
                continue

    await asyncio.gather(*(tick() for _ in range(4)))
    rows = "FROM invoice WHERE paper = 'receipt'"
    numbers = await books.stage.one(f"SELECT array_agg(place ORDER BY place) {rows}")
    assert numbers == list(range(1, len(accounts) + 1))
    assert await books.stage.one(f"SELECT count(DISTINCT account_id) {rows}") == len(accounts)
    assert await receipts_due(ctx, SELLER) == 0


@pytest.mark.feature("H5")
async def test_who_paid_is_sent_the_receipts_number_once(
    brain: httpx.AsyncClient, books: Books
) -> None:
    user = await signed_up(brain)
    account = AccountId(user.account_id)
    await grant(books.ctx, Grant(account, "purchase", "card", "k", credits=250_000))
    for _ in range(3):
        await receipts_due(books.ctx, SELLER)
    told = await books.stage.one(
        "SELECT array_agg(payload->>'to' || ': ' || (payload->>'subject')) FROM outbox"
    )
    assert told == [f"{user.email}: Receipt RCT-2027-000001: $25.00"]
