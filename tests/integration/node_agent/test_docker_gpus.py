"""What the agent asks Docker's nvidia driver for, recorded where the NVIDIA hook would read it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from kernel.clock import SystemClock
from node_agent.engine import Order
from node_agent.engine_docker import docker_engine
from node_agent.report import Progress
from tests.support.agent_brain import lease_of
from tests.support.dockerd import Dockerd
from tests.support.own_dockerd import own_daemon
from tests.support.worker_image import BUSYBOX, busybox_image

pytestmark = [pytest.mark.feature("C4"), pytest.mark.real("dockerd")]

HOOK = """#!{python}
import json, sys
bundle = json.load(sys.stdin)["bundle"]
environment = json.load(open(bundle + "/config.json"))["process"]["env"]
with open({record!r}, "a") as record:
    record.write(json.dumps(dict(line.split("=", 1) for line in environment)) + "\\n")
"""


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "asked"


@pytest.fixture
def gpu_dockerd(dockerd: str, tmp_path: Path, record: Path) -> Iterator[Dockerd]:
    """A daemon that has the nvidia driver, since the hook's program is on its path."""
    programs = tmp_path / "programs"
    programs.mkdir()
    hook = programs / "nvidia-container-runtime-hook"
    hook.write_text(HOOK.format(python=sys.executable, record=str(record)))
    hook.chmod(0o755)
    with own_daemon(tmp_path, programs=programs) as server:
        yield server


async def test_gpus_are_asked_for_by_their_uuids(
    gpu_dockerd: Dockerd, tmp_path: Path, record: Path
) -> None:
    client = docker.APIClient(base_url=gpu_dockerd.url, version="auto")
    busybox_image(client)
    lease = lease_of(["GPU-a", "GPU-c"], image=BUSYBOX, arguments=["sleep", "60"])
    engine = docker_engine(tmp_path, clock=SystemClock(), docker_host=gpu_dockerd.url, runtime=None)
    await engine.start(Order(lease, "installation", False), Progress())
    (asked,) = [json.loads(line) for line in record.read_text().splitlines()]
    assert asked["NVIDIA_VISIBLE_DEVICES"] == "GPU-a,GPU-c"
    (work,) = await engine.look()
    assert work.gpu_uuids == {"GPU-a", "GPU-c"}
    await engine.close()
    client.close()
