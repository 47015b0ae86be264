"""Whole worlds, planted faults that must be found, deaths at marks, an exact replay.

Each runs as people run it: ``python -m tests.sim`` in a process of its own, so that what is
found here is found again by its seed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.sim.whole.breaks import BREAKS
from tests.sim.whole.ground import SERVER
from tests.support.shared import ROOT

SEEDS, SEEDS_LONG, CHUNK = 12, 50, 25
DEATHS_EVERY, DEATHS_EVERY_LONG = 180, 90
STEPS = 10  # of trouble; `make sim` has more
BREAK_SEEDS, BREAK_STEPS = 20, 30
BREAK_FIRST = {"hasty_retry": 4, "early_free": 5, "blind_silence": 7}  # seeds before find nothing
SECONDS_MAX = 600
LAST = re.compile(r"seeds=(\d+) steps=(\d+) faults=(\d+) checks=(\d+) broken=(\d+)")


def simulate(server: str, *arguments: str) -> tuple[int, str]:
    """The exit code and what was printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.sim", *arguments],
        cwd=ROOT,
        env={**os.environ, SERVER: server, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def last_line(said: str) -> tuple[int, ...]:
    """Seeds, steps, faults, checks and broken, in this order."""
    found = LAST.fullmatch(said.rstrip().rpartition("\n")[2])
    assert found is not None, said
    return tuple(int(number) for number in found.groups())


@pytest.fixture
def server(postgres_server: str, database_template: str) -> str:
    return postgres_server


@pytest.mark.slow
@pytest.mark.feature("B7")
@pytest.mark.feature("F3")
@pytest.mark.feature("F4")
@pytest.mark.parametrize(
    ("first", "count"),
    [
        (1, SEEDS),
        *(pytest.param(n, CHUNK, marks=pytest.mark.long) for n in range(1, SEEDS_LONG, CHUNK)),
    ],
)
def test_worlds_break_no_law(server: str, first: int, count: int) -> None:
    code, said = simulate(
        server, "--first", str(first), "--seeds", str(count), "--steps", str(STEPS)
    )
    assert code == 0, said
    seeds, steps, faults, checks, broken = last_line(said)
    assert (seeds, broken) == (count, 0)
    assert min(steps, faults, checks) > 0


@pytest.mark.slow
@pytest.mark.feature("B7", "E1")
@pytest.mark.parametrize("count", [2, pytest.param(8, marks=pytest.mark.long)])
def test_worlds_with_images_that_no_agent_runs_break_no_law(server: str, count: int) -> None:
    code, said = simulate(server, "--own-images", "--seeds", str(count), "--steps", str(STEPS))
    assert code == 0, said
    assert last_line(said)[-1] == 0


def planted() -> list[Any]:
    """All of them; those that take longest to be found with `make test-long`."""
    long = {*BREAK_FIRST, "any_tag", "old_listing"}
    marks = {name: [pytest.mark.long] if name in long else [] for name in BREAKS}
    return [pytest.param(name, marks=marks[name]) for name in sorted(BREAKS)]


@pytest.mark.slow
@pytest.mark.parametrize("name", planted())
def test_a_planted_fault_is_found(server: str, name: str) -> None:
    first = str(BREAK_FIRST.get(name, 1))
    seeds = ("--first", first, "--seeds", str(BREAK_SEEDS), "--steps", str(BREAK_STEPS))
    code, said = simulate(server, "--break", name, *seeds, "--stop")
    assert code == 1, said
    assert last_line(said)[-1] == 1
    assert "BROKEN seed=" in said


@pytest.mark.slow
def test_a_seed_is_replayed_exactly(server: str) -> None:
    first, second = (simulate(server, "--seed", "5", "--steps", "12") for _ in range(2))
    assert first == second
    assert len(first[1].splitlines()) > 20


@pytest.mark.slow
@pytest.mark.feature("B7")
@pytest.mark.parametrize("cloud", ["lambda", "runpod", "vast"])
@pytest.mark.parametrize(
    "every", [DEATHS_EVERY, pytest.param(DEATHS_EVERY_LONG, marks=pytest.mark.long)]
)
def test_death_at_a_mark_loses_and_doubles_nothing(server: str, cloud: str, every: int) -> None:
    """At a few marks; at all of them with `make sim-crash-long`."""
    code, said = simulate(server, "--crashes", "--cloud", cloud, "--every", str(every))
    assert code == 0, said
    points = re.search(r"points=(\d+) marks_in_the_code=(\d+)", said)
    assert points is not None
    assert int(points[2]) >= 40
