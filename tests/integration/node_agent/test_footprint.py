"""What the agent takes of a host's memory, while it reads GPUs and runs a container."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import psutil
import pytest

from tests.support.agent_brain import AgentBrain, lease_of
from tests.support.agent_process import ROOT, AgentProcess
from tests.support.dockerd import remove_all
from tests.support.nvml import StubGpu, build_stub
from tests.support.worker_image import worker_image

pytestmark = pytest.mark.feature("C4")
MIB = 1 << 20
AGENT_MIB_MAX = 60
READER_MIB_MAX = 18  # a bare Python of 3.11 has 8 to 9
GPUS = 8
# Each is a megabyte or more, and of no use to a process that asks NVML and writes JSON.
HEAVY = ("asyncio", "msgspec", "structlog", "subprocess", "typing", "kernel.wire")


@pytest.fixture
def agent(
    brain: AgentBrain, dockerd: str, engine_client: docker.APIClient, tmp_path: Path
) -> Iterator[AgentProcess]:
    """As on a host: containers, and GPUs that NVIDIA's library tells."""
    worker_image(engine_client)
    brain.installation_id = f"installation-{tmp_path.parent.name}-{tmp_path.name}"
    nvml = build_stub(tmp_path)
    nvml.put(*(StubGpu(f"GPU-{number}", processes=1) for number in range(GPUS)))
    settings = {"AGENT_ENGINE": "docker", "DOCKER_HOST": dockerd, "SIMULATE_GPUS": "0"}
    agent = AgentProcess(tmp_path / "agent", brain.url, **settings, **nvml.environment)
    yield agent
    agent.clean()
    remove_all(engine_client, f"ganglion.installation={brain.installation_id}")


@pytest.mark.real("dockerd")
@pytest.mark.real("gcc")
async def test_agent_and_reader_stay_within_what_a_provider_is_told(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.cold = True
    agent.start()
    assert len(await brain.gpu_uuids(GPUS)) == GPUS
    lease = lease_of([])  # there is no card to hand in
    brain.want(lease)
    await brain.shows(lease.lease_id, "ready")
    assert agent.process is not None
    [reader] = psutil.Process(agent.process.pid).children()
    assert "node_agent.gpu_child" in reader.cmdline()
    print(f"agent {agent.rss_mib():.1f} MiB, reader {reader.memory_info().rss / MIB:.1f} MiB")
    assert agent.rss_mib() <= AGENT_MIB_MAX
    assert reader.memory_info().rss / MIB <= READER_MIB_MAX


def test_the_reader_loads_next_to_nothing() -> None:
    line = f"import sys, node_agent.gpu_child; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", line],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"
