"""A node is cut off while it works: it stops by itself, its work goes on elsewhere, nothing is sold
or billed twice, and when the cable is back everybody agrees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from brain.fleet.core import GRACE_NS
from kernel.clock import NS, SystemClock
from tests.support.agent_process import AgentProcess, workers
from tests.support.four_laws import (
    Witness,
    as_processes,
    leases,
    nothing_billed_after_the_end,
    nothing_sold_twice,
)
from tests.support.installation import Installation
from tests.support.node_net import NodeNet, node_net
from tests.support.wait import until

pytestmark = pytest.mark.slow
TTL = 30
BEAT = 5
LATE = GRACE_NS / NS  # after its lease's end the work has so long to be gone
CLOCK = SystemClock()


@pytest.fixture
def net() -> Iterator[NodeNet]:
    with node_net() as found:
        yield found


@pytest.fixture
def product(net: NodeNet, fresh_installation: Installation) -> Installation:
    """Reached from the namespace; leases are short, and there is nowhere else to place them."""
    ready = fresh_installation.start(
        "--no-node",
        extra={
            "BRAIN_HOST": net.outside,
            "GATEWAY_LINK_HOST": net.outside,
            "LEASE_TTL_SECONDS": str(TTL),
            "USE_MOCK_PROVIDERS": "false",
        },
    )
    assert "brain_url" in ready, ready
    return fresh_installation


@pytest.fixture
def nodes(product: Installation, net: NodeNet, tmp_path: Path) -> Iterator[list[AgentProcess]]:
    """One that will be cut off, and another that is not started yet."""
    made = []
    for name, within in (("far", net.command), ("near", [])):
        token = product.ask("nodes", "join")["token"]
        url = product.ready["brain_url"]
        agent = AgentProcess(
            tmp_path / name,
            url,
            within=within,
            JOIN_TOKEN=token,
            AGENT_NAME=name,
            SIMULATE_GPUS="2",  # the shared pool's replica takes one
        )
        made.append(agent)
    yield made
    for agent in made:
        agent.clean()


@pytest.fixture
def witness(nodes: list[AgentProcess]) -> Iterator[Witness]:
    """Sees all work on both nodes from outside."""
    made = Witness([as_processes(agent) for agent in nodes])
    made.start()
    yield made
    made.stop()


def shown(product: Installation) -> dict[str, Any]:
    found: dict[str, Any] = product.ask("deployments", "show", "mine")
    return found


def at_work(product: Installation, agent: AgentProcess) -> list[psutil.Process]:
    """The workers of ``mine`` that run on this node."""
    leases = {replica["lease_id"] for replica in shown(product)["replica_list"]}
    return [one for lease in leases if lease for one in workers(agent.home / "work" / lease)]


def node_states(product: Installation) -> dict[str, str]:
    return {node["name"]: node["state"] for node in product.ask("nodes", "list")}


def says(ready: dict[str, Any]) -> str:
    client = openai.OpenAI(
        base_url=f"{ready['gateway_url']}/v1", api_key=ready["api_key"], max_retries=5
    )
    said = client.chat.completions.create(
        model="mine", messages=[{"role": "user", "content": "Hello"}], max_tokens=8
    )
    return str(said.choices[0].message.content)


@pytest.mark.feature("C5", "F3")
@pytest.mark.parametrize(
    "loss", ["cut", *(pytest.param(way, marks=pytest.mark.long) for way in ("deafen", "mute"))]
)
async def test_a_node_that_is_cut_off_stops_and_nothing_counts_twice(
    product: Installation,
    nodes: list[AgentProcess],
    witness: Witness,
    net: NodeNet,
    loss: str,
) -> None:
    far, near = nodes
    far.start()
    await until(lambda: node_states(product).get("far") == "online", 60, every=1)
    assert product.run("deploy", "ganglion/stand-in", "--name", "mine").returncode == 0
    assert "stand-in" in says(product.ready)
    near.start()
    await until(lambda: node_states(product).get("near") == "online", 60, every=1)
    (running,) = at_work(product, far)

    getattr(net, loss)()
    cut_ns = CLOCK.now_ns()
    await until(lambda: not running.is_running(), TTL + LATE + BEAT, every=0.1)
    assert (CLOCK.now_ns() - cut_ns) / NS <= TTL + LATE
    await until(lambda: len(at_work(product, near)) == 1, 120, every=0.5)
    await until(lambda: shown(product)["ready_replicas"] == 1, 120, every=0.5)
    assert "stand-in" in says(product.ready)

    net.mend()
    await until(lambda: node_states(product).get("far") == "online", 90, every=1)
    await until(lambda: _settled(product), 90, every=2)
    assert workers(far.home) == []
    assert len(at_work(product, near)) == 1
    receipt = product.ask("receipt", shown(product)["deployment_id"])
    rows = await leases(product)
    nothing_sold_twice(rows, witness.runs)
    nothing_billed_after_the_end(receipt, rows)
    _check_bill(receipt, cut_ns)


def _settled(product: Installation) -> bool:
    """The lost lease's bill is final."""
    receipt = product.ask("receipt", shown(product)["deployment_id"])
    return any(lease["final"] for lease in receipt["leases"])


def _check_bill(receipt: dict[str, Any], cut_ns: int) -> None:
    """The lost lease is billed to its last sign of life at most, the other one is another's."""
    by_end = sorted(receipt["leases"], key=lambda lease: lease["opened_ns"])
    assert len(by_end) == 2
    lost, _ = by_end
    assert lost["evidence_ns"] <= cut_ns + BEAT * NS
    assert lost["buckets"]["lost"] > 0
