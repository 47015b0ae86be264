"""A pod with its owner's own image at a cloud, without our agent: its life, its end, its money."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from brain.plumbing import Ctx
from kernel.clock import ManualClock
from tests.support.cloud_pods import CloudYard, cloud_yard_at

pytestmark = pytest.mark.feature("E1", "B1", "B2")


@pytest.fixture(params=["runpod", "vast"])
async def sky(
    request: pytest.FixtureRequest, ctx: Ctx, clock: ManualClock, valkey_url: str
) -> AsyncIterator[CloudYard]:
    async with cloud_yard_at(request.param, ctx, clock, valkey_url) as made:
        yield made


async def test_it_runs_by_the_clouds_word_and_closes_on_its_proof(sky: CloudYard) -> None:
    pod = await sky.rented(ports=[8888], environment={"A": "b"})
    shown = await sky.shown(pod)
    assert (shown.agent, shown.cloud, shown.reachable) == ("none", sky.name, False)
    assert (shown.ssh, [one.url for one in shown.ports]) == (None, [None])
    await sky.pass_time(20)
    shown = await sky.shown(pod)
    assert [one.port for one in shown.endpoints] == [8888]
    intent = await sky.intent()
    assert (intent.state, intent.agentless, sky.machine().tag) == ("serving", True, intent.tag)
    await sky.stop(pod)
    await sky.until_state(pod, "stopped")
    assert sky.world.alive() == []
    assert (await sky.intent()).state == "terminated"
    await sky.settle_books()
