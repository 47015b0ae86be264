"""What the table of a rented machine means: no second order, no end without the cloud's word."""

from __future__ import annotations

from brain.provisioning.states import ENDED, INTENT, STANDING, IntentEvent, IntentState


def test_an_intent_ends_only_where_nothing_stands() -> None:
    assert INTENT.terminal() == ENDED
    assert not ENDED & STANDING


def test_a_machine_is_ordered_only_from_where_nothing_was_made() -> None:
    """The next order waits until the one before is proved to have made nothing."""
    orders = [state for state in IntentState if INTENT.can(state, IntentEvent.ORDER)]
    assert orders == [IntentState.PLANNED]
    to_planned = {e for (s, e), after in INTENT.table.items() if after is IntentState.PLANNED}
    assert to_planned == {IntentEvent.DENY, IntentEvent.MISS}


def test_a_machine_that_stands_is_over_only_by_the_clouds_word() -> None:
    for (state, event), after in INTENT.table.items():
        if state in STANDING and after in ENDED:
            assert event in (IntentEvent.GONE, IntentEvent.VANISH)
