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


async def insert(ctx: Ctx, *lines: tuple[str, int]) -> None:
    """A transaction by hand, line by line, as no code of ours writes it."""
    async with ctx.db.begin() as tx:
        await tx.execute(text("INSERT INTO journal_tx VALUES ('tx_1', 'k', 'h', 'x', '', now())"))
        for number, (asset, amount) in enumerate(lines, 1):
            await tx.execute(
                text("INSERT INTO journal_entry VALUES ('tx_1', :number, 'a', :asset, :amount)"),
                {"number": number, "asset": asset, "amount": amount},
            )


@pytest.mark.feature("G3")
@pytest.mark.parametrize(
    "lines", [[("USD", -10), ("USD", 15)], [("USD", -1), ("GPUNS", 1)], [("USD", 7)]]
)
async def test_a_transaction_that_does_not_sum_to_zero_fails_at_commit(
    ctx: Ctx, lines: list[tuple[str, int]]
) -> None:
    with pytest.raises(DBAPIError, match="does not sum to zero"):
        await insert(ctx, *lines)


@pytest.mark.feature("G3")
async def test_the_sum_is_looked_at_when_all_lines_are_there(ctx: Ctx) -> None:
    await insert(ctx, ("USD", -10), ("USD", 4), ("USD", 6))
    async with ctx.db.begin() as tx:
        assert await tx.scalar(text("SELECT count(*) FROM journal_entry")) == 3
