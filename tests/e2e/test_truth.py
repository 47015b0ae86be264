"""Kills of parts of a whole installation under load: the books have each request, once."""

from __future__ import annotations

import os

import pytest

from bench.truth import Asked, run

SEED = int(os.environ.get("GANGLION_TEST_SEED", "1"))
FEW = ("crew", "brain", "postgres", "stand-in")  # all of them: make truth-long
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("installation"), pytest.mark.feature("G5")]


async def test_kills_lose_double_and_invent_nothing() -> None:
    found = await run(Asked(requests=1000, seed=SEED, kills=len(FEW), clients=16, parts=FEW))
    print("\n".join(found.lines()))
    assert not found.wrong(), f"seed {SEED}: {found.lines()}"
    assert set(found.kills) == set(FEW)


@pytest.mark.long
@pytest.mark.parametrize("broken", ["forgetful", "twice", "early"])
async def test_a_planted_fault_is_found(broken: str) -> None:
    found = await run(Asked(requests=6000, seed=SEED, kills=16, clients=32, planted=broken))
    assert found.found.wrong(), f"seed {SEED}: {found.lines()}"
