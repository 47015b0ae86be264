"""Where links are taken: told in each beat while a gateway's stream stands; and their keys."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from brain.fleet import LinkGateways, LinkKeys
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.ids import NodeId
from kernel.wire.agent import (
    Beat,
    BeatAnswer,
    GatewayAddress,
    NvmlState,
)
from tests.support.fleet import SECRET, Rig, brain_front, host
from tests.support.wait import until

URL = "http://10.0.0.1:8090"


@pytest.fixture
async def rig(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Rig]:
    async with brain_front(ctx, clock, valkey_url) as made:
        yield made


def told(gateways: LinkGateways) -> list[GatewayAddress]:
    """What the next beat of any node is answered."""
    answer = BeatAnswer(generation=1)
    beat = Beat("node_1", "boot", 0, NvmlState.OK, [], host(), [])
    gateways.beat(NodeId("node_" + "1" * 32), beat, answer, 0)
    return answer.gateways


@pytest.mark.feature("C2")
async def test_every_brain_tells_a_gateway_whose_stream_one_of_them_holds(ctx: Ctx) -> None:
    holds, other = LinkGateways(ctx), LinkGateways(ctx)
    with holds.listening("boot_1", URL, pods=False):
        await holds.look()
        await other.look()
        assert told(holds) == told(other) == [GatewayAddress("boot_1", URL)]


async def test_a_front_of_pods_is_told_as_such(ctx: Ctx) -> None:
    gateways = LinkGateways(ctx)
    with gateways.listening("boot_1", URL, pods=True):
        await gateways.look()
        assert told(gateways) == [GatewayAddress("boot_1", URL, pods=True)]


@pytest.mark.feature("C2")
async def test_a_gateway_whose_stream_ended_is_dead_after_a_while(
    ctx: Ctx, clock: ManualClock
) -> None:
    gateways = LinkGateways(ctx)
    with gateways.listening("boot_1", URL, pods=False):
        await gateways.look()
    for _ in range(5):
        clock.advance(5)
        await gateways.look()
    assert told(gateways)
    clock.advance(6)
    await gateways.look()
    assert told(gateways) == []


async def test_a_gateway_that_stays_lives_on_and_a_new_one_joins_at_once(
    ctx: Ctx, clock: ManualClock
) -> None:
    gateways = LinkGateways(ctx)
    with gateways.listening("boot_1", URL, pods=False):
        for _ in range(20):
            clock.advance(5)
            await gateways.look()
        with gateways.listening("boot_2", URL, pods=False):
            await gateways.look()
            assert [one.boot_id for one in told(gateways)] == ["boot_1", "boot_2"]


async def test_a_restart_of_the_brain_hides_no_gateway(ctx: Ctx, clock: ManualClock) -> None:
    before = LinkGateways(ctx)
    with before.listening("boot_1", URL, pods=False):
        await before.look()
    clock.advance(10)
    after = LinkGateways(ctx)
    await after.start()
    assert told(after) == [GatewayAddress("boot_1", URL)]
    await after.stop()


@pytest.mark.feature("C2")
async def test_a_new_gateway_is_told_at_once(ctx: Ctx) -> None:
    """The clock stands still, so no look is due."""
    gateways = LinkGateways(ctx)
    await gateways.start()
    with gateways.listening("boot_1", URL, pods=False):
        await until(lambda: told(gateways))
        assert told(gateways) == [GatewayAddress("boot_1", URL)]
    await gateways.stop()


async def test_a_gateway_that_takes_no_links_is_not_told(ctx: Ctx) -> None:
    gateways = LinkGateways(ctx)
    with gateways.listening("boot_1", "", pods=False):
        await gateways.look()
        assert told(gateways) == []


@pytest.mark.feature("C2")
async def test_the_agent_is_given_the_key_of_its_lease_and_epoch(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.claim(agent)
    answer = await agent.beat()
    assert answer.desired is not None
    [wanted] = answer.desired.leases
    keys = LinkKeys(rig.front.terms.secret)
    assert wanted.link_key == keys.of(lease.lease_id, lease.epoch)
    others = {keys.of(lease.lease_id, 2), keys.of("lease_2", 1), LinkKeys(b"x").of("lease_1", 1)}
    assert len(others | {wanted.link_key}) == 4
    assert SECRET.hex() not in wanted.link_key
