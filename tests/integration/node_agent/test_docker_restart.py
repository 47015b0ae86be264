"""Docker is restarted under running work: the agent waits, adopts all of it, and closes nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.support.agent_brain import AgentBrain, lease_of
from tests.support.agent_process import AgentProcess
from tests.support.dockerd import Dockerd
from tests.support.own_dockerd import own_daemon
from tests.support.wait import until
from tests.support.worker_image import BUSYBOX, busybox_image

pytestmark = [pytest.mark.feature("C4"), pytest.mark.real("dockerd")]


@pytest.fixture
def own_dockerd(dockerd: str, tmp_path: Path) -> Iterator[Dockerd]:
    """A second daemon, to be killed. Where the first cannot be, this one is skipped too."""
    with own_daemon(tmp_path, live_restore=True) as server:
        yield server


@pytest.fixture
def agent(brain: AgentBrain, own_dockerd: Dockerd, tmp_path: Path) -> Iterator[AgentProcess]:
    client = docker.APIClient(base_url=own_dockerd.url, version="auto")
    busybox_image(client)
    client.close()
    agent = AgentProcess(
        tmp_path / "agent", brain.url, AGENT_ENGINE="docker", DOCKER_HOST=own_dockerd.url
    )
    yield agent
    agent.clean()


async def test_work_outlives_a_killed_docker_and_is_adopted(
    brain: AgentBrain, agent: AgentProcess, own_dockerd: Dockerd
) -> None:
    agent.start()
    serve = ["httpd", "-f", "-p", "8000", "-h", "/bin"]
    lease = lease_of(
        await brain.gpu_uuids(1), image=BUSYBOX, arguments=serve, health_path="/busybox"
    )
    brain.want(lease)
    await brain.shows(lease.lease_id, "ready")
    before = containers(own_dockerd)
    own_dockerd.stop(signal.SIGKILL)
    await until(lambda: "engine_away" in agent.printed(), 60)
    own_dockerd.start()
    brain.beats.clear()
    await brain.shows(lease.lease_id, "ready")
    assert containers(own_dockerd) == before
    assert not {"gone", "failed", "stopping", "starting"} & set(brain.states(lease.lease_id))


def containers(server: Dockerd) -> list[str]:
    client = docker.APIClient(base_url=server.url, version="auto")
    found = [one["Id"] for one in client.containers()]
    client.close()
    return found
