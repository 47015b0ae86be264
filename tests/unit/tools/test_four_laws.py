"""The laws that the tests of faults look at can be broken, and say so."""

from __future__ import annotations

from dataclasses import replace

import psutil
import pytest

from tests.support.four_laws import LeaseRow, Run, nothing_sold_twice

FIRST = LeaseRow("lease_a", "dep", 100, 200, "lost", 90, ("node/GPU-0", "node/GPU-1"))
NEXT = LeaseRow("lease_b", "dep", 200, None, None, 210, ("node/GPU-1",))


def run(lease_id: str, first_ns: int, last_ns: int) -> Run:
    return Run(lease_id, psutil.Process(), first_ns, last_ns)


@pytest.mark.parametrize("ended", [201, None])
def test_a_gpu_that_two_leases_held_at_once_is_found(ended: int | None) -> None:
    nothing_sold_twice([FIRST, NEXT], [run("lease_a", 110, 190), run("lease_b", 205, 900)])
    with pytest.raises(AssertionError, match="GPU-1 is held twice"):
        nothing_sold_twice([replace(FIRST, closed_ns=ended), NEXT], [])


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([run("lease_a", 110, 201)], "after it"),
        ([run("lease_a", 99, 150)], "work before its lease"),
        ([run("lease_a", 110, 199), run("lease_b", 198, 300)], "two at work on node/GPU-1"),
    ],
    ids=["too long", "too early", "both"],
)
def test_work_outside_its_lease_is_found(runs: list[Run], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        nothing_sold_twice([FIRST, NEXT], runs)
