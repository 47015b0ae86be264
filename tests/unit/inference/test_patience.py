"""How a gateway waits for a brain that is away, and what of it it says."""

from __future__ import annotations

from inference.changes import BACK_OFF_SECONDS, LOCAL_SECONDS, LOCAL_TRIES, Patience


def failures(patience: Patience, count: int) -> list[tuple[bool, float]]:
    return [(patience.tells(), patience.pause()) for _ in range(count)]


def test_a_far_brain_is_spared_more_and_more_and_each_failure_is_told() -> None:
    found = failures(Patience(local=False), 8)
    assert [told for told, _ in found] == [True] * 8
    assert [pause for _, pause in found] == [*BACK_OFF_SECONDS, *BACK_OFF_SECONDS[-1:] * 2]


def test_one_on_this_host_is_asked_often_at_first_and_that_is_told_once() -> None:
    found = failures(Patience(local=True), LOCAL_TRIES + 3)
    assert [pause for _, pause in found[:LOCAL_TRIES]] == [LOCAL_SECONDS] * LOCAL_TRIES
    assert [pause for _, pause in found[LOCAL_TRIES:]] == [BACK_OFF_SECONDS[-1]] * 3
    assert [told for told, _ in found] == [True, *[False] * (LOCAL_TRIES - 1), *[True] * 3]


def test_a_stream_that_ends_in_good_order_hides_no_failure_after_it() -> None:
    patience = Patience(local=True)
    patience.heard()
    patience.pause()
    assert failures(patience, 2) == [(True, LOCAL_SECONDS), (False, LOCAL_SECONDS)]
    patience.heard()
    assert failures(patience, 1) == [(True, LOCAL_SECONDS)]
