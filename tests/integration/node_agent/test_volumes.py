"""Volumes on a real dockerd: they outlive containers, keep their size, and go when they may."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import pytest
from msgspec.structs import replace

from kernel.clock import SystemClock
from kernel.wire.agent import VolumeMount
from node_agent.engine import StartFailed, StartRefused
from node_agent.engine_docker import DockerEngine
from node_agent.loop_disks import Disks, disks_here
from node_agent.report import Progress
from node_agent.volumes import Volumes
from tests.support.agent_brain import AgentBrain, lease_of
from tests.support.agent_process import AgentProcess
from tests.support.docker_hand import docker_hand, ours, pod, running, said_inside
from tests.support.wait import until
from tests.support.worker_image import BUSYBOX, busybox_image

pytestmark = [pytest.mark.feature("E2"), pytest.mark.real("dockerd")]
VOLUME_ID = f"vol_data_{os.getpid()}"  # xdist's workers share the dockerd
DATA = VolumeMount(VOLUME_ID, "/data", 1)


@pytest.fixture(params=["own file system", "folder"])
def volumes(request: pytest.FixtureRequest, dockerd: str, tmp_path: Path) -> Iterator[Volumes]:
    disks = disks_here(dockerd) if request.param == "own file system" else None
    if request.param == "own file system" and disks is None:
        pytest.skip("this user or machine cannot mount a file")
    volumes = Volumes(tmp_path / "volumes", SystemClock(), disks=disks)
    yield volumes
    unmounted(tmp_path / "volumes")


def unmounted(home: Path) -> None:
    for point in home.glob("*/mounted"):
        Disks().unmount(point)


@pytest.fixture
async def engine(
    dockerd: str, engine_client: docker.APIClient, tmp_path: Path, volumes: Volumes
) -> AsyncIterator[DockerEngine]:
    async with docker_hand(dockerd, engine_client, tmp_path, folders=volumes) as engine:
        volumes.serve(engine)
        yield engine


async def test_what_was_written_is_there_for_the_next_container(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    work = await running(engine, pod("sleep 60", volumes=[DATA]))
    assert work.volumes == {VOLUME_ID}
    said_inside(engine_client, work, "echo kept > /data/file")
    await engine.end(work, drain_seconds=0)
    elsewhere = VolumeMount(VOLUME_ID, "/mnt/other", 1)
    again = await running(engine, pod("sleep 60", volumes=[elsewhere]))
    assert said_inside(engine_client, again, "cat /mnt/other/file") == "kept"


async def test_any_user_of_the_image_may_write(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    work = await running(engine, pod("sleep 60", volumes=[DATA]))
    made = engine_client.exec_create(
        work.ref, ["sh", "-c", "echo x > /data/file; echo $?"], user="1234"
    )
    assert engine_client.exec_start(made["Id"]) == b"0\n"


@pytest.mark.parametrize("volumes", ["own file system"], indirect=True)
async def test_a_file_system_cannot_grow_past_its_size(
    engine: DockerEngine, engine_client: docker.APIClient, volumes: Volumes
) -> None:
    assert volumes.has_quota
    work = await running(engine, pod("sleep 60", volumes=[DATA]))
    said = said_inside(engine_client, work, "dd if=/dev/zero of=/data/file bs=1M count=1100")
    assert "No space left on device" in said
    await volumes._round()
    assert volumes.breaches(work) == ""


@pytest.mark.parametrize("volumes", ["folder"], indirect=True)
async def test_a_folder_that_is_too_full_ends_its_work(
    engine: DockerEngine, engine_client: docker.APIClient, volumes: Volumes
) -> None:
    assert not volumes.has_quota
    work = await running(engine, pod("sleep 60", volumes=[DATA]))
    said_inside(engine_client, work, "dd if=/dev/zero of=/data/file bs=1M count=900")
    await volumes._round()
    assert volumes.breaches(work) == ""
    said_inside(engine_client, work, "dd if=/dev/zero of=/data/more bs=1M count=300")
    await volumes._round()
    assert "its size is 1,024 MiB" in volumes.breaches(work)


async def test_a_volume_grows_for_its_next_container(
    engine: DockerEngine, engine_client: docker.APIClient, volumes: Volumes
) -> None:
    work = await running(engine, pod("sleep 60", volumes=[DATA]))
    said_inside(engine_client, work, "echo kept > /data/file")
    await engine.end(work, drain_seconds=0)
    larger = await running(engine, pod("sleep 60", volumes=[replace(DATA, size_gib=2)]))
    assert said_inside(engine_client, larger, "cat /data/file") == "kept"
    if volumes.has_quota:
        shown = said_inside(engine_client, larger, "busybox df -m /data")
        assert int(shown.split()[-5]) > 1500


async def test_it_goes_only_when_nobody_uses_it(
    engine: DockerEngine, volumes: Volumes, tmp_path: Path
) -> None:
    work = await running(engine, pod("sleep 60", volumes=[DATA]))
    (tmp_path / "volumes" / VOLUME_ID / "drop").touch()
    await volumes._round()
    assert (tmp_path / "volumes" / VOLUME_ID).exists()
    with pytest.raises(StartRefused, match="being removed"):
        await engine.start(pod("sleep 60", volumes=[DATA]), Progress())
    await engine.end(work, drain_seconds=0)

    async def gone() -> bool:
        await volumes._round()  # Docker may take a moment to let go of what it has removed
        return not (tmp_path / "volumes" / VOLUME_ID).exists()

    assert await until(gone, 20, every=0.5)


async def test_more_than_the_disk_has_is_not_promised(engine: DockerEngine) -> None:
    huge = VolumeMount("vol_huge", "/data", 1_000_000)
    with pytest.raises(StartFailed, match="not promised"):
        await engine.start(pod("sleep 60", volumes=[huge]), Progress())
    assert await ours(engine) == []


@pytest.mark.parametrize("path", ["relative", "/", "/proc/x", "/a/../etc", "/dev"])
async def test_a_volume_is_not_mounted_over_the_system(engine: DockerEngine, path: str) -> None:
    with pytest.raises(StartRefused, match="cannot be mounted"):
        await engine.start(pod("sleep 60", volumes=[VolumeMount("vol_a", path, 1)]), Progress())


async def test_a_name_leads_nowhere_else(engine: DockerEngine, tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="no volume"):
        await engine.start(pod("x", volumes=[VolumeMount("../out", "/data", 1)]), Progress())
    assert not (tmp_path / "out").exists()


async def test_the_brain_hears_of_it_and_has_it_removed(
    brain: AgentBrain, dockerd: str, engine_client: docker.APIClient, tmp_path: Path
) -> None:
    busybox_image(engine_client)
    brain.installation_id = f"installation-{tmp_path.parent.name}-{tmp_path.name}"
    agent = AgentProcess(tmp_path / "agent", brain.url, AGENT_ENGINE="docker", DOCKER_HOST=dockerd)
    agent.start()
    try:
        uuids = await brain.gpu_uuids(1)
        launch = {"health_path": "", "volumes": [DATA], "port": 0}
        lease = lease_of(uuids, image=BUSYBOX, arguments=["sleep", "300"], process=[], **launch)
        brain.want(lease)
        await brain.shows(lease.lease_id, "ready")
        await until(lambda: [v.volume_id for v in brain.beats[-1].volumes] == [VOLUME_ID], 90)
        brain.drop_volumes = [VOLUME_ID]
        brain.ask_stop(lease.lease_id)
        await brain.shows(lease.lease_id, "gone")
        await until(lambda: brain.beats[-1].volumes == [], 90)
        assert not (agent.home / "volumes" / VOLUME_ID).exists()
    finally:
        agent.clean()
        unmounted(agent.home / "volumes")
