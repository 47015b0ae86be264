"""Whole lives of several gateways and a brain, by seed: nothing lost, nothing doubled, no luck."""

from __future__ import annotations

from random import Random

import pytest

from brain.billing.core.posting import LATE, Asset
from brain.billing.core.window import measure
from kernel.money import TICKS_PER_GPU_NS
from tests.sim.brain.billing.world import SimGateway, World
from tests.unit.brain.billing.scenes import Books, a_lease

pytestmark = pytest.mark.feature("G1")
LONG = 2_000


def a_world(seed: int, **changed: float) -> World:
    lease = a_lease(gpus=2, evidence_ns=100 * LONG)
    made = World(Random(seed), Books(lease), wait_ns=120, **changed)
    made.gateways = [SimGateway(name) for name in ("g1", "g2", "g3")]
    made.run(LONG)
    return made


def late_ns(world: World) -> int:
    return world.books.posted(LATE, Asset.GPUNS)


def expect_conserved(world: World) -> None:
    """Every piece counted once, in time or late; busy is the union of all residence."""
    books = world.books
    whole = 2 * measure([(p.start_ns, p.end_ns) for p in world.made])
    attributed = -books.posted(f"{books.lease.id}:busy", Asset.GPUNS)
    assert len(world.made) > 50
    assert all(books.pieces[p.key].open_ns == p.end_ns for p in world.made)
    assert books.lease.busy_ready_ns == whole
    assert attributed + books.lease.rounding_ns == whole
    assert len(set(books.windows)) == len(books.windows)


@pytest.mark.parametrize("number", range(8))
def test_gateways_that_live_leave_nothing_late(seed: int, number: int) -> None:
    world = a_world(seed + number)
    expect_conserved(world)
    assert late_ns(world) == 0


@pytest.mark.parametrize("number", range(8))
def test_a_gateway_that_comes_back_in_time_loses_nothing(seed: int, number: int) -> None:
    world = a_world(seed + number, crash=0.03)
    expect_conserved(world)
    assert late_ns(world) == 0


@pytest.mark.parametrize("number", range(8))
def test_the_brains_own_absence_makes_nothing_late(seed: int, number: int) -> None:
    world = a_world(seed + number, away=0.05)
    expect_conserved(world)
    assert late_ns(world) == 0


@pytest.mark.parametrize("number", range(8))
def test_a_gateway_that_stays_away_too_long_is_late_and_nobody_pays(seed: int, number: int) -> None:
    world = a_world(seed + number, crash=0.03, down_steps=60, away=0.01)
    expect_conserved(world)
    shared = sum(world.books.ticks.values())
    late = sum(world.books.late_ticks.values())
    assert late == late_ns(world) * TICKS_PER_GPU_NS
    assert (
        0
        <= 2 * measure([(p.start_ns, p.end_ns) for p in world.made]) * TICKS_PER_GPU_NS
        - (shared + late)
        <= 10 * len(world.made) * 4
    )
