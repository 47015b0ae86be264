"""A posting's hash is what it always was, and nothing in it can be taken for what divides it."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brain.billing import Asset, Entry, Posting
from brain.billing.core.posting import Capture
from kernel.errors import BadInput
from kernel.ids import HoldId, TxId
from tests.support.cases import cases

pytestmark = pytest.mark.feature("G3")
WORDS = st.text(st.characters(exclude_characters="\x1d\x1e\x1f", codec="utf-8"), max_size=5)
PAIRS = st.lists(st.tuples(WORDS, st.sampled_from(Asset), st.integers()), min_size=1, max_size=3)
TAKEN = st.lists(st.tuples(WORDS.map(HoldId), st.integers(min_value=0)), max_size=3)


@given(kind=WORDS, memo=WORDS, pairs=PAIRS, taken=TAKEN)
def test_the_hash_is_over_the_json_of_the_content(
    kind: str, memo: str, pairs: list[tuple[str, Asset, int]], taken: list[tuple[HoldId, int]]
) -> None:
    entries = [Entry(name, asset, sign * n) for name, asset, n in pairs for sign in (1, -1)]
    captures = tuple(Capture(hold, nano) for hold, nano in taken)
    made = Posting(TxId("tx_1"), "k", kind, memo, tuple(entries), captures)
    lines = sorted([e.account, e.asset.value, e.amount] for e in entries)
    said = json.dumps([kind, memo, lines, sorted([hold, nano] for hold, nano in taken)])
    assert made.input_hash() == sha256(said.encode()).hexdigest()


@settings(max_examples=cases(3000, part=30))
@given(pairs=PAIRS, asset=st.sampled_from(Asset), off=st.integers().filter(bool), two=st.booleans())
def test_what_does_not_sum_to_zero_in_each_asset_is_no_transaction(
    pairs: list[tuple[str, Asset, int]], asset: Asset, off: int, two: bool
) -> None:
    """Dollars are not made good by GPU time: the sum over both may be zero."""
    entries = [Entry(name, kind, sign * n) for name, kind, n in pairs for sign in (1, -1)]
    (other,) = set(Asset) - {asset}
    wrong = [Entry("a", asset, off), *([Entry("a", other, -off)] if two else [])]
    with pytest.raises(AssertionError, match="does not sum to zero"):
        Posting(TxId("tx_1"), "k", "x", "", (*entries, *wrong))


@pytest.mark.parametrize("mark", ["\x1d", "\x1e", "\x1f"])
def test_what_divides_the_parts_of_a_batch_is_refused_in_them(mark: str) -> None:
    entries = (Entry("a", Asset.USD, -1), Entry("b", Asset.USD, 1))
    for key, kind, memo in ((mark, "x", ""), ("k", mark, ""), ("k", "x", f"a{mark}b")):
        with pytest.raises(BadInput, match="control characters"):
            Posting(TxId("tx_1"), key, kind, memo, entries)
