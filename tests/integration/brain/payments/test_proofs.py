"""The laws of payments hold over a whole life of money, and each finds what is planted."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from brain.payments import PaymentProofs
from tests.integration.brain.payments.test_going_back import dispute, paid
from tests.support.payments import Till


async def lived(till: Till) -> None:
    """Paid, partly refunded, disputed, and long enough ago for every law to look."""
    first = await paid(till)
    await till.post(f"/topups/{first['topup_id']}/refund", {"amount_usd": "10"})
    second = await till.top_up("40")
    await dispute(till, second)
    await till.pass_time(4 * 3600)


async def counts(till: Till) -> dict[str, tuple[int, int]]:
    async with till.ctx.db.begin() as tx:
        found = await PaymentProofs().proofs(tx, till.clock.now_ns())
    return {proof.name.removeprefix("payments_"): (proof.count, proof.broken) for proof in found}


@pytest.mark.feature("H1")
async def test_a_life_of_money_agrees_with_the_processors_books(till: Till) -> None:
    await lived(till)
    assert await counts(till) == {
        "topups": (2, 0),
        "reversals": (2, 0),
        "processors": (2, 0),
        "books": (1, 0),
        "known": (2, 0),
    }


PLANTED = (
    ("topups", "UPDATE topup SET state = 'failed' WHERE amount_minor = 2500"),
    ("reversals", "UPDATE topup_reversal SET state = 'returned' WHERE kind = 'refund'"),
    ("processors", "UPDATE payment_line SET amount_minor = amount_minor + 1 WHERE fee_minor=0"),
    ("processors", "UPDATE topup SET fee_minor = fee_minor + 1"),
    ("processors", "UPDATE topup SET payment = NULL WHERE amount_minor = 4000"),
    ("books", "UPDATE topup SET fee_minor = fee_minor + 1"),
    ("known", "UPDATE topup SET state = 'parked' WHERE amount_minor = 2500"),
)


async def test_each_planted_difference_is_found(till: Till) -> None:
    await lived(till)
    for law, planted in PLANTED:
        async with till.ctx.db.begin() as tx:
            await tx.execute(text(planted))
            found = await PaymentProofs().proofs(tx, till.clock.now_ns())
            await tx.rollback()
        assert next(one for one in found if one.name == f"payments_{law}").broken, planted
