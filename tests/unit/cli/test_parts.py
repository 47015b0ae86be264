"""The patience with which a part is started again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from cli.embedded import child
from cli.supervisor.parts import BACK_OFF_SECONDS, LOOP_EXITS, Exit, Part, back_off
from kernel.clock import ManualClock
from tests.support.wait import until


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


async def test_a_part_that_was_killed_is_not_started_again(tmp_path: Path) -> None:
    exits: list[Exit] = []

    async def launch(attach: Callable[[asyncio.subprocess.Process], None]) -> None:
        attach(await child.spawn(["sleep", "60"]))

    part = Part("sleeper", launch, tmp_path / "sleeper.log", ManualClock(), exits.append)
    await part.start()
    part.kill()
    await until(lambda: part._task is not None and part._task.done())
    await part.stop()
    assert (part.pid, part.starts, exits) == (None, 1, [])
