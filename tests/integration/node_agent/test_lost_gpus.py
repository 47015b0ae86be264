"""A card that goes while work runs on it: the agent, NVIDIA's binding and a stand-in library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent_brain import AgentBrain, lease_of
from tests.support.agent_process import AgentProcess
from tests.support.nvml import StubGpu, StubNvml, build_stub

pytestmark = pytest.mark.feature("C4")
HERE = StubGpu("GPU-b")


@pytest.fixture
def nvml(tmp_path: Path) -> StubNvml:
    return build_stub(tmp_path)


@pytest.fixture
def agent(brain: AgentBrain, nvml: StubNvml, tmp_path: Path) -> Iterator[AgentProcess]:
    nvml.put(StubGpu("GPU-a"), HERE)
    agent = AgentProcess(tmp_path / "agent", brain.url, SIMULATE_GPUS="0", **nvml.environment)
    agent.start()
    yield agent
    agent.clean()


@pytest.mark.parametrize(
    "gone",
    [(HERE,), (StubGpu("GPU-a", lost=True), HERE)],
    ids=["no longer listed", "listed as lost"],
)
async def test_its_work_ends_with_the_reason(
    brain: AgentBrain,
    agent: AgentProcess,
    nvml: StubNvml,
    gone: tuple[StubGpu, ...],
) -> None:
    leases = [lease_of([uuid]) for uuid in await brain.gpu_uuids(2)]
    for lease in leases:
        brain.want(lease)
    for lease in leases:
        await brain.shows(lease.lease_id, "ready")
    nvml.put(*gone)
    seen = await brain.shows(leases[0].lease_id, "failed")
    assert "GPU-a" in seen.reason
    assert "under running work" in seen.reason
    other = brain.seen(leases[1].lease_id)
    assert other is not None
    assert (other.state.value, other.restarts) == ("ready", 0)
