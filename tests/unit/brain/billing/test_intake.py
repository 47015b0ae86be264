"""Whatever a batch's pieces are, each is read or set aside; what is around them stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.billing.core.intake import read_batch
from kernel.wire.gateway import Segment

pytestmark = pytest.mark.feature("G5")
RIGHT: dict[str, Any] = {
    "key": "k",
    "day": "2027-01-15",
    "boot_id": "boot_1",
    "request_id": "req_1",
    "account_id": "acct_1",
    "key_id": "key_1",
    "deployment_id": "dep_1",
    "replica_id": "rep_1",
    "lease_id": "lease_1",
    "epoch": 1,
    "attempt": 0,
    "number": 0,
    "start_ns": 1,
    "end_ns": 2,
}
COUNTS = ("epoch", "attempt", "number", "start_ns", "end_ns", "prompt_tokens", "status", "weight")
WORDS = ("key", "day", "boot_id", "request_id", "account_id", "lease_id", "end", "slice_id")
NEITHER = st.one_of(st.integers(max_value=-1), st.integers(min_value=2**63), st.floats(0.1, 0.9))
WRONG = st.one_of(
    st.builds(lambda name, value: {**RIGHT, name: value}, st.sampled_from(COUNTS), NEITHER),
    st.builds(lambda name, value: {**RIGHT, name: value}, st.sampled_from(WORDS), st.integers()),
    st.sampled_from(sorted(RIGHT)).map(lambda gone: {k: v for k, v in RIGHT.items() if k != gone}),
    st.one_of(st.none(), st.booleans(), st.text(), st.lists(st.integers())),
)
PIECES = st.lists(st.tuples(st.booleans(), WRONG), max_size=12)


def body(pieces: list[object]) -> bytes:
    around = {"boot_id": "boot_1", "gateway": "gw", "sent_monotonic_ns": 7, "closed_boots": ["b"]}
    text = json.dumps({**around, "segments": pieces}, ensure_ascii=False)
    return text.encode()


@given(PIECES)
def test_each_piece_is_read_or_set_aside_in_order(pieces: list[tuple[bool, object]]) -> None:
    sent = [{**RIGHT, "key": str(n)} if good else bad for n, (good, bad) in enumerate(pieces)]
    reading = read_batch(body(sent))
    assert [one.key for one in reading.batch.segments] == [
        str(n) for n, (good, _) in enumerate(pieces) if good
    ]
    assert all(type(one) is Segment for one in reading.batch.segments)
    wrong = [bad for good, bad in pieces if not good]
    assert [json.loads(one.content) for one in reading.asides] == wrong
    batch = reading.batch
    assert (batch.boot_id, batch.sent_monotonic_ns, batch.closed_boots) == ("boot_1", 7, ["b"])


@given(WRONG, WRONG)
def test_the_same_piece_has_one_key_and_another_has_another(one: object, other: object) -> None:
    first, again, second = read_batch(body([one, one, other])).asides
    assert first == again
    assert (first.key == second.key) is (json.dumps(one) == json.dumps(other))


def test_what_postgresql_cannot_keep_is_written_out() -> None:
    piece = {**RIGHT, "request_id": "req_\x00", "epoch": -1}
    [one] = read_batch(body([piece])).asides
    assert (one.request_id, json.loads(one.content)) == ("req_\\u0000", piece)
    assert "\x00" not in one.content
