"""The tables of provisioning: every state is reached, what is not listed is refused."""

from __future__ import annotations

from itertools import product

import pytest

from brain.provisioning.states import (
    ACCOUNT,
    ENDED,
    INTENT,
    STANDING,
    UNKNOWN,
    AccountState,
    IntentEvent,
    IntentState,
    UnknownState,
)
from kernel.errors import Conflict


@pytest.mark.parametrize(
    ("machine", "states"),
    [(INTENT, IntentState), (UNKNOWN, UnknownState), (ACCOUNT, AccountState)],
    ids=["intent", "unknown", "account"],
)
def test_every_state_is_reached(machine, states) -> None:  # type: ignore[no-untyped-def]
    assert machine.reachable() == frozenset(states)


def test_an_intent_ends_only_where_nothing_stands() -> None:
    assert INTENT.terminal() == ENDED
    assert not ENDED & STANDING


def test_what_the_table_does_not_list_is_refused() -> None:
    for state, event in product(IntentState, IntentEvent):
        if not INTENT.can(state, event):
            with pytest.raises(Conflict):
                INTENT.next(state, event)


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
