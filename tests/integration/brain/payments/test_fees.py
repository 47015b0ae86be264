"""Fees that processors keep: booked once for each change, whatever they were before."""

from __future__ import annotations

from sqlalchemy import text

from brain import billing
from brain.payments import books, store
from brain.payments.books import PROCESSOR_FEES
from kernel.ids import TopUpId
from tests.integration.brain.payments.test_going_back import paid
from tests.support.payments import Till


async def test_a_fee_that_becomes_what_it_was_is_booked_each_time(till: Till) -> None:
    made = await paid(till)
    await till.pass_time(60)
    async with till.ctx.db.begin() as tx:
        row = await store.get(tx, TopUpId(made["topup_id"]), lock=True)
        assert row is not None
        first = row.fee_minor or 0
        for minor in (first + 40, first, first + 40, first, first + 40):
            await books.fee(tx, till.ctx, row, row, minor)
        kept = (await billing.balances(tx, [PROCESSOR_FEES]))[PROCESSOR_FEES].posted
        counted = await tx.scalar(
            text("SELECT count(*) FROM journal_tx WHERE kind = 'processor_fee'")
        )
    assert (abs(kept), counted) == ((first + 40) * 10_000_000, 6)
    assert "payments_books" not in await till.broken()
