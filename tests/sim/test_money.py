"""Worlds of money, planted faults that must be found, an exact replay.

Each runs as people run it: ``python -m tests.sim.money`` in a process of its own.
"""

from __future__ import annotations

import pytest

from tests.sim.money.breaks import BREAKS
from tests.sim.simulate import broken_by, drawn, last_line, simulate, some

MONEY = "tests.sim.money"
SEEDS, CHUNK = 50, 25
STEPS = 4  # of trouble; `make sim-money` has more
BREAK_STEPS = 24
# The world that finds each soonest; in each run some of them are looked for.
BREAK_FIRST = {
    "boundless_refill": 1,
    "cursor_fold": 7,
    "double_capture": 2,
    "eager_refill": 8,
    "early_webhook_claim": 9,
    "fresh_key": 1,
    "fresh_payout": 2,
    "fresh_refund": 12,
    "lost_segment": 2,
    "rounding_per_request": 2,
}
SOON = BREAK_FIRST.keys() - {"cursor_fold", "fresh_payout"}
BREAKS_PER_RUN = 3


@pytest.fixture
def server(postgres_server: str, database_template: str) -> str:
    return postgres_server


@pytest.mark.slow
@pytest.mark.feature("H1", "H2")
@pytest.mark.parametrize("first", range(1, SEEDS, CHUNK))
def test_worlds_of_money_break_no_law(server: str, first: int) -> None:
    seeds = ("--first", str(first), "--seeds", str(CHUNK), "--steps", str(STEPS))
    code, said = simulate(server, MONEY, *seeds)
    assert code == 0, said
    seeds_run, steps, faults, checks, broken = last_line(said)
    assert (seeds_run, broken) == (CHUNK, 0)
    assert min(steps, faults, checks) > 0


def test_every_planted_fault_of_money_is_looked_for() -> None:
    assert BREAK_FIRST.keys() == BREAKS.keys()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "first"), some(BREAK_FIRST, drawn(SOON, BREAKS_PER_RUN)))
def test_a_planted_fault_of_money_is_found(server: str, name: str, first: int) -> None:
    broken, said = broken_by(name, server, MONEY, first=first, steps=BREAK_STEPS)
    assert broken == 1, said
    assert "BROKEN seed=" in said


@pytest.mark.slow
def test_a_seed_of_money_is_replayed_exactly(server: str) -> None:
    first, second = (simulate(server, MONEY, "--seed", "5", "--steps", "3") for _ in range(2))
    assert first == second
    assert "trace=" in first[1]
