"""Storage: the law of GPU time for GiB. However time is split and seen, the sum is exact."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brain.billing.core.storage import Stored, charge_storage, storage_posting
from brain.pods.core import GAP_NS, Kept, billed, found_at, seen_at
from kernel.clock import NS
from kernel.errors import BadInput
from kernel.ids import AccountId, TxId, VolumeId
from kernel.money import CARRY_DIVISOR, TICKS_PER_GPU_NS
from tests.support.cases import cases

pytestmark = pytest.mark.feature("E2")

PLATFORM, ME = AccountId("acct_platform"), AccountId("acct_" + "1" * 32)
THEM, VOLUME = AccountId("acct_" + "2" * 32), VolumeId("vol_" + "3" * 32)
LAW = settings(max_examples=cases(3000, part=40), deadline=None)
PRICES = st.integers(0, 10**9)
SIZES = st.integers(1, 10_240)
SPANS = st.lists(st.integers(0, 40 * 86_400 * NS), min_size=1, max_size=20)
# Seconds between two beats that tell of the volume, some of them far apart.
BEATS = st.lists(st.integers(1, 3 * GAP_NS), min_size=1, max_size=60)


def stored(ns: int, price: int, gib: int, **changed: object) -> Stored:
    values = {"payer": ME, "provider": THEM, **changed}
    return Stored(
        volume_id=VOLUME,
        gib=gib,
        price_nano=price,
        from_ns=5,
        until_ns=5 + ns,
        seen_ns=ns,
        **values,  # type: ignore[arg-type]
    )


@LAW
@given(SPANS, PRICES, SIZES, st.integers(0, CARRY_DIVISOR - 1))
def test_the_charges_and_the_carry_are_price_times_gib_ns_exactly(
    spans: list[int], price: int, gib: int, carry: int
) -> None:
    began, total = carry, 0
    for ns in spans:
        made = charge_storage(stored(ns, price, gib), carry, 1500, PLATFORM)
        total, carry = total + made.charge.nano, made.carry
    units = price * gib * sum(spans) * TICKS_PER_GPU_NS
    assert total * CARRY_DIVISOR + carry == units + began


@LAW
@given(SPANS, PRICES, SIZES)
def test_any_split_costs_what_the_whole_costs(spans: list[int], price: int, gib: int) -> None:
    total, carry = 0, 0
    for ns in spans:
        made = charge_storage(stored(ns, price, gib), carry, 1500, PLATFORM)
        total, carry = total + made.charge.nano, made.carry
    whole = charge_storage(stored(sum(spans), price, gib), 0, 1500, PLATFORM)
    assert (total, carry) == (whole.charge.nano, whole.carry)


@LAW
@given(st.integers(0, 10**15), PRICES, SIZES, st.integers(0, 10_000), st.sampled_from([ME, None]))
def test_each_transaction_sums_to_zero_and_the_provider_gets_its_part(
    ns: int, price: int, gib: int, fee: int, payer: AccountId | None
) -> None:
    one = stored(ns, price, gib, payer=payer)
    made = charge_storage(one, 0, fee, PLATFORM)
    posting = storage_posting(TxId("tx_" + "4" * 32), one, made, PLATFORM, "memo")
    entries = () if posting is None else posting.entries
    amounts = {e.account: e.amount for e in entries}
    assert sum(e.amount for e in entries) == 0
    assert len(amounts) == len(entries)
    assert amounts.get(f"{THEM}:pending", 0) == made.earned.nano
    assert made.earned.nano == made.charge.nano * (10_000 - fee) // 10_000
    assert amounts.get(ME, 0) == (-made.charge.nano if payer == ME else 0)


def test_a_month_of_a_gib_costs_what_the_price_list_says() -> None:
    month = 730 * 3600 * NS
    made = charge_storage(stored(month, 136_986, 1), 0, 1500, PLATFORM)
    assert made.charge.nano == 136_986 * 730


@LAW
@given(BEATS, st.lists(st.booleans(), min_size=60, max_size=60))
def test_what_was_seen_is_owed_and_nothing_else(steps: list[int], bills: list[bool]) -> None:
    kept, now, owed, total = found_at(1), 1, 0, 0
    for step, bill in zip(steps, bills, strict=False):
        now += step
        owed += step if step <= GAP_NS else 0
        kept = seen_at(kept, now)
        if bill:
            total, kept = total + kept.unbilled_ns, billed(kept)
        assert 0 <= kept.unbilled_ns <= kept.seen_ns - kept.begun_ns
    assert total + kept.unbilled_ns == owed


def test_older_news_of_a_volume_changes_nothing() -> None:
    kept = Kept(begun_ns=10, owed_ns=3, from_ns=20, seen_ns=30)
    assert seen_at(kept, 30) == seen_at(kept, 25) == kept


def test_nobody_is_seen_for_longer_than_they_were_there() -> None:
    with pytest.raises(BadInput):
        Stored(VOLUME, ME, THEM, 1, 1, from_ns=0, until_ns=10, seen_ns=11)
