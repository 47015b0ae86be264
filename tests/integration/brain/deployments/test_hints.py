"""Whoever works on replicas is told at once that a lease changed, and only then."""

from __future__ import annotations

from brain.bridges import DeploymentWatch
from brain.plumbing import Ctx
from brain.wiring import assemble
from catalog import load_catalog
from kernel.clock import ManualClock
from kernel.ids import AccountId
from tests.support.brain import settings_for_tests
from tests.support.deployments import House, give
from tests.support.fleet import brain_front


async def test_a_change_of_a_lease_is_hinted_and_a_beat_without_one_is_not(
    ctx: Ctx, clock: ManualClock, valkey_url: str
) -> None:
    hints: list[int] = []

    def hint() -> None:
        hints.append(1)

    async with brain_front(ctx, clock, valkey_url, watcher=DeploymentWatch(ctx, hint)) as rig:
        house = House(rig, ctx, clock, load_catalog(), ctx.ids.new(AccountId))
        await give(ctx, house.account)
        agent = await rig.agent()
        await house.deploy()
        await house.tick()
        hints.clear()
        await house.obey()
        assert len(hints) == 1, "the worker is ready"
        await agent.beat(*agent.last_seen)
        assert len(hints) == 1, "nothing changed"


async def test_the_brain_sends_those_hints_to_its_workers(ctx: Ctx, database_url: str) -> None:
    parts = assemble(settings_for_tests(database_url), ctx=ctx)
    try:
        watcher = parts.agents.watcher
        assert isinstance(watcher, DeploymentWatch)
        assert watcher.hint is parts.wake
    finally:
        await parts.valkey.aclose()
