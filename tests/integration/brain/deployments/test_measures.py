"""A ready worker tells the room in its cache; the next placement reckons with it."""

from __future__ import annotations

import httpx
import pytest

from brain.deployments import measures
from brain.plumbing import Ctx
from catalog import Template, need, use_of
from catalog.fit import MEMORY_SHARE
from catalog.kv_cache import cache_bytes_per_token, cache_lines
from catalog.sums import MIB
from kernel.ids import AccountId
from kernel.wire.agent import LeaseSeen
from tests.support.brain import signed_up
from tests.support.deployments import House, give
from tests.support.fleet import Agent, gpu

MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
L4_MIB = 23_034


async def docker_node(house: House, memory_mib: int = L4_MIB) -> Agent:
    number = len(house.rig.agents)
    agent = await house.rig.agent(gpu(f"GPU-{number}", "NVIDIA L4", memory_mib))
    agent.engine = "docker"
    await agent.beat()
    return agent


def room(template: Template, more_mib: int) -> int:
    """Tokens of an engine on an L4 that takes so much more than was reckoned."""
    use = use_of(template, context=None, concurrency=None)
    assert template.shape is not None
    cache = sum(line.mib for line in cache_lines(template.shape, use, 1))
    free = int(L4_MIB * MEMORY_SHARE) - (need(template, use).per_gpu_mib - cache) - more_mib
    return free * MIB // cache_bytes_per_token(template.shape, use, 1)


async def started(house: House, agent: Agent, tokens: int) -> None:
    """A worker of the model becomes ready there, and tells of its cache a little later."""
    await house.deploy(model=MODEL)
    await house.tick()
    await house.obey()
    await house.tick()
    (before,) = agent.last_seen
    told = LeaseSeen(
        lease_id=before.lease_id,
        epoch=before.epoch,
        state=before.state,
        port=before.port,
        kv_cache_tokens=tokens,
    )
    await agent.beat(told)
    agent.last_seen = (told,)
    await house.rig.pass_time(15, agent)
    await house.tick()


async def known(house: House) -> Template:
    async with house.ctx.db.begin() as tx:
        (found,) = await measures.corrected(tx, house.catalog.get(MODEL))
    return found


@pytest.mark.feature("D2", "F1")
async def test_what_a_start_took_more_counts_for_the_next_place(
    house: House, brain: httpx.AsyncClient, ctx: Ctx
) -> None:
    template = house.catalog.get(MODEL)
    least = need(template, use_of(template, context=None, concurrency=None)).memory_mib
    await started(house, await docker_node(house), room(template, 400))
    (seen,) = (await known(house)).measured
    assert (seen.gpus, seen.mib) == (1, pytest.approx(400, abs=2))

    await docker_node(house, least + 100)  # as the sum was before
    second = await house.deploy(model=MODEL, name="second")
    await house.tick()
    assert await house.state(second) == "waiting"
    await docker_node(house, least + 600)
    await house.rig.pass_time(61, *house.rig.agents)
    await house.tick()
    assert await house.state(second) == "starting"

    who = await signed_up(brain)
    await give(ctx, AccountId(who.account_id))
    shown = (await brain.get(f"/api/v1/catalog/{MODEL}", headers=who.headers)).json()
    line = shown["needs"][0]["lines"][-1]
    assert (line["label"], line["mib"]) == ("measured", seen.mib)
    assert "a start on NVIDIA L4 left room for" in line["how"]


async def test_a_figure_that_cannot_be_is_not_kept(house: House) -> None:
    await started(house, await docker_node(house), 1_000)
    assert (await known(house)).measured == ()
