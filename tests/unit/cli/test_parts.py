"""The patience with which a part is started again."""

from __future__ import annotations

from cli.supervisor.parts import BACK_OFF_SECONDS, LOOP_EXITS, Exit, back_off


def test_waits_grow_and_stay_within_ten_seconds() -> None:
    waits = [back_off(exits) for exits in range(1, 50)]
    assert waits == sorted(waits)
    assert waits[0] < 1
    assert waits[-1] == BACK_OFF_SECONDS[-1] == 10


def test_a_crash_loop_is_called_one() -> None:
    assert not Exit("brain", 1, "", LOOP_EXITS - 1).loops
    assert Exit("brain", 1, "", LOOP_EXITS).loops


def test_an_exit_says_how_and_why() -> None:
    assert str(Exit("brain", 2, "no database", 1)) == "brain stopped (exit code 2): no database"
    assert str(Exit("agent", -9, "", 1)) == "agent stopped (signal 9)"
