"""Docker is restarted under running work: the agent waits, adopts all of it, and closes nothing."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.support.agent_brain import AgentBrain, lease_of
from tests.support.agent_process import AgentProcess
from tests.support.dockerd import Dockerd, make_bridge, remove_bridge
from tests.support.wait import until
from tests.support.worker_image import BUSYBOX, busybox_image

pytestmark = [pytest.mark.feature("C4"), pytest.mark.real("dockerd")]


@pytest.fixture
def own_dockerd(dockerd: str, tmp_path: Path) -> Iterator[Dockerd]:
    """A second daemon with live-restore, to be killed. Needs the first to be possible at all."""
    bridge = f"gngl{os.getpid()}"
    log = os.open(tmp_path / "dockerd.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    home = Path(tempfile.mkdtemp(prefix="gng-live-", dir="/tmp"))
    make_bridge(bridge, f"172.30.{os.getpid() % 250 + 1}.1")
    server = Dockerd(home, bridge=bridge, log=log, live_restore=True)
    try:
        server.start()
        yield server
        clean(server)
    finally:
        server.stop()
        remove_bridge(bridge)
        server.remove()
        os.close(log)


def clean(server: Dockerd) -> None:
    """With live-restore containers outlive the daemon: they are ended one by one."""
    client = docker.APIClient(base_url=server.url, version="auto")
    for one in client.containers(all=True):
        client.remove_container(one["Id"], force=True, v=True)
    client.close()


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
    await brain.shows(lease.lease_id, "ready", 40)
    before = containers(own_dockerd)
    own_dockerd.stop(signal.SIGKILL)
    await until(lambda: "engine_away" in agent.printed(), 20)
    own_dockerd.start()
    brain.beats.clear()
    await brain.shows(lease.lease_id, "ready", 40)
    assert containers(own_dockerd) == before
    assert not {"gone", "failed", "stopping", "starting"} & set(brain.states(lease.lease_id))


def containers(server: Dockerd) -> list[str]:
    client = docker.APIClient(base_url=server.url, version="auto")
    found = [one["Id"] for one in client.containers()]
    client.close()
    return found
