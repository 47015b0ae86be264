"""A whole installation with three gateway processes, harmed: the books have each request, once;
stores that are away are not felt; money is not spent twice. At full size: make truth-long,
make bench ONLY=outages.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bench import outages
from bench.truth import Asked, run
from bench.truth_place import Place, place
from tests.support.shared_limits import limited
from tests.support.wait import until

SEED = int(os.environ.get("GANGLION_TEST_SEED", "1"))
FEW = ("crew", "brain", "postgres", "stand-in")  # all parts: make truth-long
AWAY_SECONDS = 3
CALM_SECONDS = 0.5
TRIES_MAX = 5
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("second")]


@pytest.fixture(scope="module")
def here(prepared_data: Path) -> Iterator[Place]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield runner.run(stack.enter_async_context(place(data=prepared_data)))
        finally:
            runner.run(stack.aclose())


@pytest.mark.feature("G5")
async def test_kills_lose_double_and_invent_nothing(here: Place) -> None:
    asked = Asked(requests=1000, seed=SEED, kills=len(FEW), clients=16, parts=FEW)
    found = await run(asked, here)
    print("\n".join(found.lines()))
    assert not found.wrong(), f"seed {SEED}: {found.lines()}"
    assert set(found.kills) == set(FEW)
    await until(here.serves, 60)


@pytest.mark.feature("O4")
async def test_nobody_notices_that_valkey_stands_still(here: Place) -> None:
    async with outages.valkey_paused(here):
        seen = await outages.steady(here, AWAY_SECONDS)
    assert seen.statuses[200] > 50
    assert seen.failures == 0, seen.statuses


@pytest.mark.feature("O4", "A9")
async def test_without_postgresql_known_keys_are_served_and_others_wait(here: Place) -> None:
    # What an account has asked for of late is what its gateways may spend without a brain.
    assert (await outages.steady(here, CALM_SECONDS)).failures == 0
    async with outages.postgres_away(here):
        known, unknown = await asyncio.gather(
            outages.steady(here, AWAY_SECONDS), outages.strangers(here, AWAY_SECONDS)
        )
    assert known.statuses[200] > 50
    assert known.failures == 0, known.statuses
    assert set(unknown.statuses) == {503}
    await until(here.serves, 60)


@pytest.mark.feature("I3")
async def test_a_revoked_key_is_refused_by_every_process_at_once(here: Place) -> None:
    assert await outages.refused_after(here) < 3  # ``make bench ONLY=outages`` tells the time


@pytest.mark.feature("G5")
async def test_with_money_for_k_of_many_at_most_k_reach_a_worker(here: Place) -> None:
    afforded, reached, answers = await outages.thousand_at_once(here, parallel=200)
    assert 0 < reached <= afforded
    # Who waited too long for a busy brain to lend money is told to come again.
    assert {200, 402} <= set(answers) <= {200, 402, 503}


@pytest.mark.feature("A14")
async def test_no_more_requests_at_once_than_a_key_may_have_over_all_processes(here: Place) -> None:
    """A process that waits for the brain for a second goes by its share, at least one: that is
    more than the limit, but not by much, and passes."""
    most, shares = 3, len(here.ports)
    async with limited(here, requests_at_once=most) as key:
        for _ in range(2):  # what ended at one process can be had at another
            counts: list[int] = []
            while not counts or (counts[-1] > most and len(counts) < TRIES_MAX):
                statuses = await key.streams(24)
                assert await key.running(), "they overlap"
                assert set(statuses) == {200, 429}
                counts.append(statuses.count(200))
                assert counts[-1] <= most + shares
                key.close()
            assert counts[-1] <= most, counts


@pytest.mark.feature("A14")
async def test_no_more_tokens_a_minute_than_a_key_may_have_over_all_processes(here: Place) -> None:
    limit = 3000
    async with limited(here, tokens_per_minute=limit) as key:
        given, seconds = await key.tokens_in(requests=150, max_tokens=40)
        ahead = len(here.ports) * limit / 20
        assert 0 < given <= limit + limit * seconds / 60 + ahead


@pytest.mark.long
@pytest.mark.feature("G5")
@pytest.mark.parametrize("broken", ["forgetful", "twice", "early", "rerun"])
async def test_a_planted_fault_is_found(broken: str) -> None:
    asked = Asked(requests=6000, seed=SEED, kills=16, clients=32, planted=broken)
    async with place(broken) as harmed:
        found = await run(asked, harmed)
    assert found.found.wrong(), f"seed {SEED}: {found.lines()}"
