"""Top-ups through the public API, with Stripe's library and an emulated Stripe behind it."""

from __future__ import annotations

import pytest

from tests.support.payments import Till


@pytest.mark.feature("H1")
async def test_a_saved_card_pays_and_its_credit_is_there_at_once(till: Till) -> None:
    await till.save_card()
    made = await till.top_up("25")
    assert (made["state"], await till.balance(), till.charges()) == ("paid", "$25.00", [2500])
    await till.pass_time(60)
    assert await till.bookings() == [("purchase", "$25.00")]
    assert await till.broken() == []
