"""Faults are read strictly and each is met by the next so many requests."""

from __future__ import annotations

import pytest

from standins.worker.faults import CutHow, Fault, FaultBox, FaultKind, read_faults

CHAT = "/v1/chat/completions"


def test_one_fault_or_a_list_is_read() -> None:
    one = read_faults({"fault": "cut", "after_bytes": 200, "how": "reset"})
    assert one == (Fault(FaultKind.CUT, after_bytes=200, how=CutHow.RESET),)
    assert len(read_faults([{"fault": "late"}, {"fault": "status", "status": 429}])) == 2


@pytest.mark.parametrize(
    "given",
    [
        "cut",
        {},
        {"fault": "explode"},
        {"fault": "cut", "after_byte": 1},
        {"fault": "cut", "after_bytes": -1},
        {"fault": "cut", "after_bytes": "1"},
        {"fault": "cut", "how": "softly"},
        {"fault": "late", "seconds": "1"},
        {"fault": "status", "status": True, "next": 1.5},
        [{"fault": "late"}] * 101,
    ],
)
def test_nonsense_is_refused_with_words(given: object) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        read_faults(given)


def test_a_fault_is_met_by_the_next_requests_only() -> None:
    box = FaultBox(read_faults({"fault": "late", "next": 2}))
    assert [box.take(CHAT) is not None for _ in range(3)] == [True, True, False]


def test_a_fault_for_all_lasts_until_it_is_cleared() -> None:
    box = FaultBox(read_faults({"fault": "late", "next": 0}))
    assert all(box.take(CHAT) for _ in range(5))
    box.clear()
    assert box.take(CHAT) is None


def test_a_fault_is_for_work_unless_it_names_a_path() -> None:
    box = FaultBox(read_faults([{"fault": "late"}, {"fault": "status", "path": "/health"}]))
    assert box.take("/metrics") is None
    met = box.take("/health")
    assert met is not None
    assert met.fault is FaultKind.STATUS


def test_the_oldest_fault_comes_first() -> None:
    box = FaultBox(read_faults([{"fault": "late"}, {"fault": "stall"}]))
    kinds = [fault.fault for _ in range(2) if (fault := box.take(CHAT))]
    assert kinds == [FaultKind.LATE, FaultKind.STALL]
