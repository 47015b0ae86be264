"""The journal's guards in a real PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from brain.billing import Grant, grant
from brain.plumbing import Ctx
from kernel.ids import AccountId

ACCOUNT = AccountId("acct_" + "a" * 32)


async def granted(ctx: Ctx, credits: int = 10, key: str = "k") -> str:
    return await grant(ctx, Grant(ACCOUNT, "promo", "a gift", key, credits=credits))


@pytest.mark.feature("G3")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal_entry SET amount = 1",
        "DELETE FROM journal_entry",
        "UPDATE journal_tx SET memo = 'x'",
        "DELETE FROM journal_tx",
        "TRUNCATE journal_tx CASCADE",
    ],
)
async def test_the_journal_refuses_to_be_changed(ctx: Ctx, statement: str) -> None:
    await granted(ctx)
    with pytest.raises(DBAPIError, match="immutable"):
        async with ctx.db.begin() as tx:
            await tx.execute(text(statement))


@pytest.mark.feature("G3")
async def test_a_transaction_that_does_not_sum_to_zero_fails_at_commit(ctx: Ctx) -> None:
    with pytest.raises(DBAPIError, match="does not sum to zero: USD 5"):
        async with ctx.db.begin() as tx:
            await tx.execute(
                text("INSERT INTO journal_tx VALUES ('tx_1', 'k', 'h', 'test', '', now())")
            )
            for line, amount in ((1, -10), (2, 15)):
                await tx.execute(
                    text("INSERT INTO journal_entry VALUES ('tx_1', :line, 'a', 'USD', :amount)"),
                    {"line": line, "amount": amount},
                )


@pytest.mark.feature("G3")
async def test_dollars_do_not_balance_gpu_time(ctx: Ctx) -> None:
    with pytest.raises(DBAPIError, match="does not sum to zero"):
        async with ctx.db.begin() as tx:
            await tx.execute(
                text("INSERT INTO journal_tx VALUES ('tx_1', 'k', 'h', 'test', '', now())")
            )
            await tx.execute(
                text(
                    "INSERT INTO journal_entry VALUES ('tx_1', 1, 'a', 'USD', -1),"
                    " ('tx_1', 2, 'a', 'GPUNS', 1)"
                )
            )
