"""A request that a worker may have begun is never run again; one that none began may be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from brain.replays.core import RUNS_NS, SILENT_NS, Earlier, Owner, judge
from kernel.clock import NS
from kernel.wire.replays import Said

NOW = 10**18
DAY = 86_400 * NS
RUNNING = Earlier(
    same_input=True,
    same_request=False,
    claimed_ns=NOW - NS,
    settled=False,
    kept=False,
    expires_ns=NOW + DAY,
)
ALIVE = Owner(seen_ns=NOW - NS, closed=False, began=False)


@pytest.mark.feature("A13")
@pytest.mark.parametrize(
    ("changed", "owner", "said"),
    [
        ({}, ALIVE, Said.RUNNING),
        ({"same_request": True}, ALIVE, Said.RUN),
        ({"same_input": False}, ALIVE, Said.OTHER_INPUT),
        ({"same_input": False, "settled": True}, ALIVE, Said.OTHER_INPUT),
        ({"settled": True, "kept": True}, ALIVE, Said.REPLAY),
        ({"settled": True}, ALIVE, Said.GONE),
        ({"expires_ns": NOW, "settled": True, "kept": True}, ALIVE, Said.RUN),
        ({"claimed_ns": NOW - RUNS_NS - 1}, ALIVE, Said.UNKNOWN),
        ({}, replace(ALIVE, seen_ns=NOW - SILENT_NS - 1), Said.UNKNOWN),
        ({}, replace(ALIVE, seen_ns=0, closed=True), Said.RUN),
        ({}, replace(ALIVE, seen_ns=0, closed=True, began=True), Said.GONE),
    ],
)
def test_what_a_second_request_is_told(changed: dict[str, bool], owner: Owner, said: Said) -> None:
    assert judge(replace(RUNNING, **changed), owner, NOW) is said
