"""Worlds of money, planted faults that must be found, an exact replay.

Each runs as people run it: ``python -m tests.sim.money`` in a process of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.sim.money.breaks import BREAKS
from tests.sim.whole.ground import SERVER
from tests.support.shared import ROOT

SEEDS, SEEDS_LONG = 10, 50
STEPS = 4  # of trouble; `make sim-money` has more
BREAK_SEEDS, BREAK_STEPS = 20, 14
SECONDS_MAX = 600
# Those that the suite looks for; all of them with `make test-long`.
QUICK = {"early_webhook_claim", "lost_segment", "rounding_per_request", "fresh_key"}
BREAK_FIRST = {"lost_segment": 2, "rounding_per_request": 2}  # seeds before find nothing
LAST = re.compile(r"seeds=(\d+) steps=(\d+) faults=(\d+) checks=(\d+) broken=(\d+)")


def simulate(server: str, *arguments: str) -> tuple[int, str]:
    """The exit code and what was printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.sim.money", *arguments],
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
@pytest.mark.feature("H1", "H2")
@pytest.mark.parametrize("count", [SEEDS, pytest.param(SEEDS_LONG, marks=pytest.mark.long)])
def test_worlds_of_money_break_no_law(server: str, count: int) -> None:
    code, said = simulate(server, "--seeds", str(count), "--steps", str(STEPS))
    assert code == 0, said
    seeds, steps, faults, checks, broken = last_line(said)
    assert (seeds, broken) == (count, 0)
    assert min(steps, faults, checks) > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.long])
        for name in sorted(BREAKS)
    ],
)
def test_a_planted_fault_of_money_is_found(server: str, name: str) -> None:
    first = str(BREAK_FIRST.get(name, 1))
    seeds = ("--first", first, "--seeds", str(BREAK_SEEDS), "--steps", str(BREAK_STEPS))
    code, said = simulate(server, "--break", name, *seeds, "--stop")
    assert code == 1, said
    assert last_line(said)[-1] == 1
    assert "BROKEN seed=" in said


@pytest.mark.slow
def test_a_seed_of_money_is_replayed_exactly(server: str) -> None:
    first, second = (simulate(server, "--seed", "5", "--steps", "3") for _ in range(2))
    assert first == second
    assert "trace=" in first[1]
