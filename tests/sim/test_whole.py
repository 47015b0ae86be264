"""Whole worlds, planted faults that must be found, deaths at marks, an exact replay.

Each runs as people run it: ``python -m tests.sim`` in a process of its own, so that what is
found here is found again by its seed.
"""

from __future__ import annotations

import os
import re
from random import Random

import pytest

from tests.sim.simulate import broken_by, drawn, last_line, simulate, some
from tests.sim.whole.breaks import BREAKS
from tests.support.plugin import SEED

WHOLE = "tests.sim"
SEEDS, SEEDS_LONG, CHUNK = 36, 60, 12
STEPS = 10  # of trouble; `make sim` has more
BREAK_STEPS = 30
# The world that finds each soonest. In each run some are looked for, of those that are found soon.
BREAK_FIRST = {
    "any_tag": 1,
    "billed_lost": 5,
    "blind_silence": 5,
    "early_free": 3,
    "early_terminated": 3,
    "hasty_retry": 23,
    "lost_guard": 4,
    "no_intent": 2,
    "no_tag": 2,
    "old_listing": 8,
    "stale_epoch": 3,
}
SOON = BREAK_FIRST.keys() - {"any_tag", "old_listing"}
BREAKS_PER_RUN = 3
CLOUDS = ("lambda", "runpod", "vast")
DEATHS_EVERY_LONG = 90
DEATHS_MANY = 1000  # more than there are
MARKS_MIN = 40


@pytest.fixture
def server(postgres_server: str, database_template: str) -> str:
    return postgres_server


@pytest.mark.slow
@pytest.mark.feature("B7")
@pytest.mark.feature("F3")
@pytest.mark.feature("F4")
@pytest.mark.parametrize(
    "first",
    [
        pytest.param(first, marks=[] if first < SEEDS else [pytest.mark.long])
        for first in range(1, SEEDS_LONG, CHUNK)
    ],
)
def test_worlds_break_no_law(server: str, first: int) -> None:
    seeds = ("--first", str(first), "--seeds", str(CHUNK), "--steps", str(STEPS))
    code, said = simulate(server, WHOLE, *seeds)
    assert code == 0, said
    seeds_run, steps, faults, checks, broken = last_line(said)
    assert (seeds_run, broken) == (CHUNK, 0)
    assert min(steps, faults, checks) > 0


@pytest.mark.slow
@pytest.mark.feature("B7", "E1")
@pytest.mark.parametrize("count", [2, pytest.param(8, marks=pytest.mark.long)])
def test_worlds_with_images_that_no_agent_runs_break_no_law(server: str, count: int) -> None:
    seeds = ("--seeds", str(count), "--steps", str(STEPS))
    code, said = simulate(server, WHOLE, "--own-images", *seeds)
    assert code == 0, said
    assert last_line(said)[-1] == 0


def test_every_planted_fault_is_looked_for() -> None:
    assert BREAK_FIRST.keys() == BREAKS.keys()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "first"), some(BREAK_FIRST, drawn(SOON, BREAKS_PER_RUN)))
def test_a_planted_fault_is_found(server: str, name: str, first: int) -> None:
    broken, said = broken_by(name, server, WHOLE, first=first, steps=BREAK_STEPS)
    assert broken == 1, said
    assert "BROKEN seed=" in said


@pytest.mark.slow
def test_a_seed_is_replayed_exactly(server: str) -> None:
    seed = ("--seed", "5", "--steps", str(STEPS))
    first, second = (simulate(server, WHOLE, *seed) for _ in range(2))
    assert first == second
    assert len(first[1].splitlines()) > 20


@pytest.mark.slow
@pytest.mark.feature("B7")
def test_death_at_a_mark_loses_and_doubles_nothing(server: str) -> None:
    """At one of them; at all with `make sim-crash-long`."""
    (cloud,) = drawn(CLOUDS, 1)
    skipped = Random(os.environ[SEED]).randrange(DEATHS_MANY)
    which = ("--every", str(DEATHS_MANY), "--skip", str(skipped))
    assert die(server, cloud, *which) >= MARKS_MIN


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("cloud", CLOUDS)
def test_death_at_some_marks_loses_and_doubles_nothing(server: str, cloud: str) -> None:
    assert die(server, cloud, "--every", str(DEATHS_EVERY_LONG)) >= MARKS_MIN


def die(server: str, cloud: str, *which: str) -> int:
    """How many marks of the code the lives there come by."""
    code, said = simulate(server, WHOLE, "--crashes", "--cloud", cloud, *which)
    assert code == 0, said
    assert last_line(said)[0] >= 2, "one life without a death, and one with it"
    points = re.search(r"points=(\d+) marks_in_the_code=(\d+)", said)
    assert points is not None
    return int(points[2])
