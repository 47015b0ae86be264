"""Nodes that lie, each in one way, are found by a named check with its reason, and not sold."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from brain import fleet
from brain.plumbing import Ctx
from brain.trust.core.kinds import CheckKind
from kernel.clock import ManualClock
from kernel.errors import NoCapacity
from kernel.ids import AccountId
from tests.support.liars import (
    FAST,
    FILL_MS,
    SLOW,
    Card,
    Elsewhere,
    FalseTimes,
    MakesAnew,
    OfAnotherCheck,
    SamplesOnly,
    readings,
)
from tests.support.trial import Trial, trial

pytestmark = pytest.mark.feature("C6")


@pytest.fixture
async def world(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Trial]:
    async with trial(ctx, clock, valkey_url) as made:
        yield made


async def withheld(world: Trial, name: str) -> set[str]:
    node_id = world.nodes[name].agent.node_id
    return {offer.withheld for offer in await fleet.offers(world.ctx, [node_id])}


LIES: dict[str, CheckKind] = {
    "another name": CheckKind.SPEED,
    "more memory": CheckKind.MEMORY,
    "more gpus": CheckKind.PRESENCE,
    "one gpu twice": CheckKind.SHARING,
    "capped power": CheckKind.SPEED,
    "another check": CheckKind.ANSWER,
    "elsewhere": CheckKind.LATE,
    "resold": CheckKind.MEMORY,
    "samples only": CheckKind.ANSWER,
    "makes anew": CheckKind.SPEED,
    "a slice": CheckKind.INVENTORY,
    "false times": CheckKind.LATE,
}


async def liars(world: Trial) -> None:
    """One node a lie, each of a provider of its own but for the two that share a GPU."""
    slow = Card(fill_ms=FILL_MS[SLOW])
    await world.node("another name", readings("GPU-name", name=FAST), [slow])
    await world.node("more memory", readings("GPU-more", mib=81_920), [Card()])
    await world.node("more gpus", readings("GPU-real", "GPU-none"), [Card(), None])
    one = Card()
    await world.node("one gpu twice", readings("GPU-twice-a", "GPU-twice-b"), [one, one])
    together, both = world.ctx.ids.new(AccountId), Card()
    await world.node("shared a", readings("GPU-host-a"), [both], account=together)
    await world.node("shared b", readings("GPU-host-b"), [both], account=together)
    await world.node("capped power", readings("GPU-capped"), [Card(fill_ms=5_000)])
    await world.node("another check", readings("GPU-old"), worker=OfAnotherCheck)
    await world.node("elsewhere", readings("GPU-far"), worker=Elsewhere)
    await world.node("resold", readings("GPU-resold"), [Card(used_mib=12_000)])
    await world.node("samples only", readings("GPU-some"), worker=SamplesOnly)
    await world.node("makes anew", readings("GPU-anew"), worker=MakesAnew)
    await world.node("a slice", readings("GPU-mig", name="NVIDIA H100 80GB HBM3", mib=9_984))
    false = Card(fill_ms=8_000)
    await world.node("false times", readings("GPU-false"), [false], FalseTimes)


async def test_each_lie_is_found_by_its_check_and_honest_nodes_stay(world: Trial) -> None:
    await liars(world)
    many = [f"GPU-good-{place}" for place in range(6)]  # their openings do not fit one beat
    await world.node("honest", readings(*many))
    await world.node("slow but fair", readings("GPU-fair"), [Card(fill_ms=2_000)])
    await world.node("slow by name", readings("GPU-s", name=SLOW), [Card(fill_ms=10_000)])
    await world.enforce()
    await world.round()
    await world.round()
    found = {name: await world.failures(name) for name in world.nodes}
    for name, kind in LIES.items():
        assert kind.value in found[name], f"{name}: {found[name]}"
        said = (await withheld(world, name)).pop()
        assert said.startswith("It failed its "), f"{name}: {said}"
    for name in ("honest", "slow but fair", "slow by name"):
        assert found[name] == {}, name
        assert await withheld(world, name) == {""}, name
    # The GPU that two nodes tell of is not sold by both.
    both = [await withheld(world, name) for name in ("shared a", "shared b")]
    assert any(any(said) for said in both)
    assert {"sharing"} in [set(found["shared a"]), set(found["shared b"])]
    with pytest.raises(NoCapacity, match="not sold: It failed its"):
        await world.rig.claim(world.nodes["samples only"].agent)


async def test_in_shadow_mode_lies_are_recorded_and_nothing_is_done(world: Trial) -> None:
    await world.node("samples only", readings("GPU-some"), worker=SamplesOnly)
    await world.round()
    found = await world.findings("samples only")
    assert {(f.kind, f.mode) for f in found if not f.passed} == {("answer", "shadow")}
    assert await withheld(world, "samples only") == {""}
    await world.rig.claim(world.nodes["samples only"].agent)


async def test_a_claim_wins_over_a_check(world: Trial) -> None:
    node = await world.node("honest", readings("GPU-a"))
    await world.pass_seconds(20)
    assert len(await world.under_way()) == 1
    assert len(node.checks._jobs) == 1
    await world.rig.claim(node.agent)
    await node.beat()
    assert node.checks._jobs == {}
    await world.pass_seconds(4)
    assert await world.under_way() == []
    assert await world.failures("honest") == {}


async def test_work_that_is_told_of_a_leased_gpu_is_a_lie(world: Trial) -> None:
    node = await world.node("after the end", readings("GPU-a"))
    await world.enforce()
    node.keeps_telling = True
    await world.pass_seconds(20)
    lease = await world.rig.claim(node.agent)
    node.seen = (node.agent.seen(lease, gpu_uuids=["GPU-a"]),)
    await world.pass_seconds(30)
    assert set(await world.failures("after the end")) == {"abort"}
    assert "failed its abort check" in (await withheld(world, "after the end")).pop()


async def test_a_failed_check_counts_in_the_score_and_a_passed_one_lets_back(
    world: Trial,
) -> None:
    card = Card(used_mib=12_000)
    node = await world.node("resold", readings("GPU-a"), [card])
    await world.enforce()
    await world.round()
    await world.pass_seconds(70)
    async with world.ctx.db.begin() as tx:
        before = (await fleet.standings(tx, [node.agent.node_id]))[node.agent.node_id]
    assert 909_090 <= before.reliability_ppm < 909_100  # one failed check: 1,000,000 / 1.1
    card.used_mib = 0
    await world.round()
    assert await withheld(world, "resold") == {""}


async def test_a_node_that_shared_its_gpu_is_let_back_when_it_has_it_alone(world: Trial) -> None:
    one = Card()
    both = readings("GPU-a", "GPU-b")
    node = await world.node("twice", both, [one, one])
    await world.enforce()
    await world.round()
    assert "sharing" in await world.failures("twice")
    runner = node.checks._runner
    runner.cards["GPU-b"] = Card()  # type: ignore[attr-defined]
    await world.round()
    assert await withheld(world, "twice") == {""}
