"""A part that stops is started again, its words are kept, and its end is final when asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cli.embedded import child
from cli.supervisor.parts import Exit, Part
from kernel.clock import SystemClock
from tests.support.wait import until

Attach = Callable[[asyncio.subprocess.Process], None]


class Watched:
    """A part that runs a shell line, and the exits that it told of."""

    def __init__(self, folder: Path, line: str) -> None:
        self.exits: list[Exit] = []

        async def launch(attach: Attach) -> None:
            attach(await child.spawn(["sh", "-c", line], output=asyncio.subprocess.PIPE))

        self.part = Part("worker", launch, folder / "worker.log", SystemClock(), self.exits.append)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[[str], Watched]]:
    made: list[Watched] = []

    def one(line: str) -> Watched:
        made.append(Watched(tmp_path, line))
        return made[-1]

    yield one
    for watched in made:
        await watched.part.stop()


async def test_a_killed_part_comes_back(make: Callable[[str], Watched]) -> None:
    watched = make("exec sleep 60")
    await watched.part.start()
    first = watched.part.pid
    assert watched.part.process is not None
    watched.part.process.kill()
    await until(lambda: watched.part.pid not in (None, first))
    assert [ended.code for ended in watched.exits] == [-9]


async def test_a_part_that_keeps_stopping_is_told_with_its_last_words(
    make: Callable[[str], Watched],
) -> None:
    watched = make("echo no such table; exit 3")
    await watched.part.start()
    await until(lambda: len(watched.exits) >= 4)
    assert watched.exits[3].loops
    assert str(watched.exits[3]) == "worker stopped (exit code 3): no such table"


async def test_what_a_part_says_is_in_its_log(
    make: Callable[[str], Watched], tmp_path: Path
) -> None:
    watched = make("echo to stdout; echo to stderr >&2; exec sleep 60")
    await watched.part.start()
    await until(lambda: "to stderr" in (tmp_path / "worker.log").read_text())
    assert "to stdout" in (tmp_path / "worker.log").read_text()


async def test_a_stopped_part_stays_stopped(make: Callable[[str], Watched]) -> None:
    watched = make("exec sleep 60")
    await watched.part.start()
    pid = watched.part.pid
    await watched.part.stop()
    assert pid is not None
    assert not child.alive(pid)
    assert watched.exits == []


async def test_a_part_that_ignores_its_signal_is_killed(make: Callable[[str], Watched]) -> None:
    watched = make("trap '' TERM; echo deaf; while :; do sleep 0.1; done")
    watched.part.stop_signals = ((child.signal.SIGTERM, 0.3),)
    await watched.part.start()
    await until(lambda: b"deaf" in watched.part.log_place.read_bytes())
    pid = watched.part.pid
    await watched.part.stop()
    assert pid is not None
    assert not child.alive(pid)


async def test_a_program_that_does_not_exist_fails_the_start(tmp_path: Path) -> None:
    async def launch(attach: Attach) -> None:
        attach(await child.spawn(["/no/such/program"]))

    part = Part("ghost", launch, tmp_path / "ghost.log", SystemClock(), lambda _: None)
    with pytest.raises(FileNotFoundError):
        await part.start()
    await part.stop()


async def test_why_a_start_anew_failed_is_told(tmp_path: Path) -> None:
    exits: list[Exit] = []
    programs = iter(["true"])

    async def launch(attach: Attach) -> None:
        attach(await child.spawn([next(programs, "/no/such/program")]))

    part = Part("ghost", launch, tmp_path / "ghost.log", SystemClock(), exits.append)
    await part.start()
    await until(lambda: len(exits) >= 2)
    await part.stop()
    assert "No such file or directory: '/no/such/program'" in str(exits[1])
