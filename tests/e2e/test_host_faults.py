"""What breaks on a host or beside it, on the whole product with real containers: the node cut off
for 15 minutes, its clock an hour off, its agent or Docker killed, the brain away for a minute.

After each the same laws are looked at from outside (``tests/support/four_laws.py``).
"""

from __future__ import annotations

import json
import signal
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from kernel.clock import NS, SystemClock
from tests.support.agent_process import AgentProcess
from tests.support.harmed_host import Scene, scene
from tests.support.installation import Installation
from tests.support.node_net import NodeNet, node_net
from tests.support.wait import stretch, until
from tests.support.wrong_clock import wrong_clock

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.real("dockerd"),
]
CLOCK = SystemClock()
LATE = 5  # after its lease's end the work has so long to be gone
USUAL_TTL, SHORT_TTL = 600, 30
HOUR = 3600
BRAIN_AWAY_SECONDS = 60
REPLICAS = 2


@pytest.fixture
def net(dockerd: str) -> Iterator[NodeNet]:
    """Where the run has no dockerd, this is skipped too."""
    with node_net() as found:
        yield found


@pytest.fixture
def agents() -> Iterator[list[AgentProcess]]:
    started: list[AgentProcess] = []
    yield started
    for one in started:
        one.clean()


@pytest.fixture
def whole(net: NodeNet, fresh_installation: Installation, tmp_path: Path) -> Iterator[Scene]:
    """With leases as they are by default."""
    with scene(fresh_installation, net, tmp_path, ttl_seconds=USUAL_TTL) as made:
        yield made


@pytest.fixture
def brisk(net: NodeNet, fresh_installation: Installation, tmp_path: Path) -> Iterator[Scene]:
    """With leases of half a minute."""
    with scene(fresh_installation, net, tmp_path, ttl_seconds=SHORT_TTL) as made:
        yield made


async def at_work(scene: Scene, agents: list[AgentProcess], replicas: int, **far: str) -> set[str]:
    """The deployment's leases, with all its work on the host that will be harmed."""
    agents.append(scene.far(**far))
    agents[0].start()
    await scene.online("far")
    held = await scene.deploy(replicas)
    await scene.serves()
    return held


async def cut_off(scene: Scene, agents: list[AgentProcess], lease: str, seconds: float) -> None:
    """The node is cut off for so long: its work ends by itself in time, goes on at another host
    meanwhile, and stays there when the node is back."""
    agents.append(scene.near())
    agents[1].start()
    await scene.online("near")
    scene.net.cut()
    cut_ns = CLOCK.now_ns()
    await until(lambda: lease not in scene.witness.running(), scene.ttl_seconds + 60, every=0.2)
    assert (scene.witness.last_ns(lease) - cut_ns) / NS <= scene.ttl_seconds + LATE
    await scene.ready(1)
    await scene.serves()
    await stretch(max(0.0, seconds - (CLOCK.now_ns() - cut_ns) / NS))
    scene.net.mend()
    await scene.online("far")
    await scene.settled(lease)
    assert lease not in scene.witness.running()
    told = {one["lease_id"]: one for one in scene.receipt()["leases"]}
    assert told[lease]["evidence_ns"] <= cut_ns + 2 * NS  # a beat that was on its way
    assert told[lease]["buckets"]["lost"] > 0
    await scene.serves()


@pytest.mark.feature("C5", "F3")
async def test_a_node_cut_off_for_fifteen_minutes(whole: Scene, agents: list[AgentProcess]) -> None:
    (lease,) = await at_work(whole, agents, 1)
    await cut_off(whole, agents, lease, 15 * 60)
    rows = await whole.laws()
    assert {row.lease_id: row.outcome for row in rows}[lease] == "lost"
    await whole.end()
    await whole.laws()


@pytest.mark.feature("C5")
@pytest.mark.parametrize("seconds", [HOUR, -HOUR], ids=["an hour fast", "an hour slow"])
async def test_a_node_whose_clock_is_an_hour_off(
    brisk: Scene, agents: list[AgentProcess], seconds: int, tmp_path: Path
) -> None:
    """It works as any other for longer than a lease, ends in time, and is billed by the brain's
    clock."""
    (lease,) = await at_work(brisk, agents, 1, **wrong_clock(tmp_path, seconds))
    assert abs(_clock_ns(agents[0]) - CLOCK.now_ns() - seconds * NS) < HOUR * NS // 2
    await stretch(SHORT_TTL + LATE)
    assert (brisk.held(), set(brisk.witness.running(lease))) == ({lease}, {lease})
    await cut_off(brisk, agents, lease, 0)
    await brisk.end()
    await brisk.laws()
    assert brisk.product.ask("disputes") == []


async def agent_killed(scene: Scene, agents: list[AgentProcess]) -> None:
    await agents[0].stop(signal.SIGKILL)
    agents[0].start()


async def docker_killed(scene: Scene, agents: list[AgentProcess]) -> None:
    """With live-restore: its containers are not its children."""
    scene.engine.stop(signal.SIGKILL)
    await until(lambda: "engine_away" in agents[0].printed(), 60)
    scene.engine.start()


async def brain_killed(scene: Scene, agents: list[AgentProcess]) -> None:
    """And with it its database, its worker and the gateway."""
    scene.product.kill()
    await until(lambda: "beat_failed" in agents[0].printed(), 60)
    await stretch(BRAIN_AWAY_SECONDS)
    scene.start_product()


@pytest.mark.feature("C4")
@pytest.mark.parametrize(
    "fault", [agent_killed, docker_killed, brain_killed], ids=lambda fault: fault.__name__
)
async def test_work_outlives_what_manages_it(
    whole: Scene,
    agents: list[AgentProcess],
    fault: Callable[[Scene, list[AgentProcess]], Awaitable[None]],
) -> None:
    """The same containers run on under the same leases, all of them, and serve."""
    held = await at_work(whole, agents, REPLICAS)
    before = (await whole.open_leases(), whole.containers(), whole.witness.running(*held))
    assert held <= set(before[1])
    heard_ns = CLOCK.now_ns()
    await fault(whole, agents)
    await whole.online("far")
    await whole.renewed_since(heard_ns)
    await whole.ready(REPLICAS)
    await whole.serves()
    after = (await whole.open_leases(), whole.containers(), whole.witness.running(*held))
    assert after == before
    await whole.end()
    rows = await whole.laws()
    assert [row.outcome for row in rows if row.lease_id in held] == ["released"] * REPLICAS


def _clock_ns(agent: AgentProcess) -> int:
    """What time it is by the last line that the agent printed."""
    line = json.loads(agent.printed().splitlines()[-1])
    return int(datetime.fromisoformat(line["timestamp"]).timestamp() * NS)
