"""Renters' own images on a real dockerd: entry point, user, ports, secrets, limits, figures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import docker
import pytest

from kernel.errors import Conflict
from kernel.wire.agent import SecretsAnswer
from node_agent.containers.states import Life, Stage, Step
from node_agent.engine import StartRefused
from node_agent.engine_docker import DockerEngine
from node_agent.records import Phase
from node_agent.report import Progress
from tests.support.docker_hand import docker_hand, pod, running, said_inside, the_work
from tests.support.folders import contents
from tests.support.wait import until
from tests.support.worker_image import BUSYBOX

pytestmark = [pytest.mark.feature("E1"), pytest.mark.real("dockerd")]
SERVED = "ganglion/served:test"  # an image with an entry point, a user and a folder of its own


@pytest.fixture
async def engine(
    dockerd: str, engine_client: docker.APIClient, tmp_path: Path
) -> AsyncIterator[DockerEngine]:
    async with docker_hand(dockerd, engine_client, tmp_path) as engine:
        yield engine


@pytest.fixture
def served(engine: DockerEngine, engine_client: docker.APIClient) -> str:
    made = engine_client.create_container(BUSYBOX, ["true"])
    changes = ['ENTRYPOINT ["sh", "-c", "echo $0 $GREETING; id -u; sleep 60"]', "USER 1234"]
    engine_client.commit(made["Id"], *SERVED.split(":"), changes=[*changes, 'CMD ["from-cmd"]'])
    engine_client.remove_container(made["Id"])
    return SERVED


async def printed(client: docker.APIClient, ref: str, lines: int) -> list[str]:
    async def enough() -> list[str] | None:
        found = bytes(client.logs(ref)).decode().splitlines()
        return found if len(found) >= lines else None

    return list(await until(enough) or [])


async def test_the_images_entry_point_arguments_and_user_are_kept(
    engine: DockerEngine, engine_client: docker.APIClient, served: str
) -> None:
    work = await running(engine, pod(image=served, arguments=[], environment={"GREETING": "hi"}))
    assert await printed(engine_client, work.ref, 2) == ["from-cmd hi", "1234"]


async def test_arguments_take_the_place_of_the_images(
    engine: DockerEngine, engine_client: docker.APIClient, served: str
) -> None:
    work = await running(engine, pod(image=served, arguments=["mine-{port}"]))
    assert (await printed(engine_client, work.ref, 2))[0].strip() == "mine-{port}"


async def test_a_command_takes_the_place_of_the_entry_point(
    engine: DockerEngine, engine_client: docker.APIClient, served: str
) -> None:
    wanted = pod(image=served, command=["sh", "-c"], arguments=["echo instead; sleep 60"])
    work = await running(engine, wanted)
    assert await printed(engine_client, work.ref, 1) == ["instead"]


async def test_each_port_is_published_on_loopback_alone(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    serve = "for p in 8080 9090; do httpd -p $p -h /bin; done; sleep 60"
    work = await running(engine, pod(serve, ports=[8080, 9090], port=8080))
    assert (set(work.ports), work.port) == ({8080, 9090}, work.ports[8080])
    published = engine_client.inspect_container(work.ref)["NetworkSettings"]["Ports"]
    assert {entry["HostIp"] for one in published.values() for entry in one} == {"127.0.0.1"}

    async def answers() -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", work.ports[9090])
        writer.write(b"GET /busybox HTTP/1.0\r\n\r\n")
        head = await reader.readline()
        writer.close()
        return b" 200 " in head

    await until(answers)


async def test_secrets_are_in_its_environment_and_nowhere_else(
    engine: DockerEngine, engine_client: docker.APIClient, tmp_path: Path
) -> None:
    secret = SecretsAnswer({"HF_TOKEN": "hf-very-secret"})
    wanted = pod("sleep 60", secrets=secret)
    work = await running(engine, wanted)
    assert said_inside(engine_client, work, "echo $HF_TOKEN") == "hf-very-secret"
    made = engine_client.inspect_container(work.ref)
    assert "hf-very-secret" not in str(made["Config"]["Labels"])
    assert "hf-very-secret" not in repr(wanted)
    files = contents(tmp_path).values()
    assert not any(b"hf-very-secret" in content for content in files)


async def test_nobody_chooses_the_gpus_it_sees(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    wanted = pod("sleep 60", environment={"NVIDIA_VISIBLE_DEVICES": "all"})
    work = await running(engine, wanted)
    assert said_inside(engine_client, work, "echo $NVIDIA_VISIBLE_DEVICES") == "void"


async def test_what_it_uses_is_sampled(engine: DockerEngine) -> None:
    wanted = pod("yes > /dev/null", memory_mib=64)
    work = await running(engine, wanted)
    await engine.usage(work)

    async def busy() -> bool:
        used = await engine.usage(work)
        return used is not None and used.cpu_percent > 10

    await until(busy, 60)
    used = await engine.usage(work)
    assert used is not None
    assert (used.memory_limit_mib, used.pids >= 1) == (64, True)


async def test_what_it_wrote_is_measured(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    work = await running(engine, pod("sleep 60", disk_mib=1024))
    said_inside(engine_client, work, "dd if=/dev/zero of=/file bs=1M count=5")
    written = await engine.written_mib(work)
    assert written is not None
    assert 5 <= written <= 6


async def test_it_can_do_what_package_managers_do_and_no_more(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    work = await running(engine, pod("sleep 60"))
    status = said_inside(engine_client, work, "cat /proc/1/status")
    bits = int(
        next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd")), 16
    )
    chown, dac_override, fowner, setgid, setuid, net_bind = 0, 1, 3, 6, 7, 10
    allowed = sum(1 << bit for bit in (chown, dac_override, fowner, setgid, setuid, net_bind))
    assert bits == allowed


@pytest.mark.feature("C4")
async def test_a_second_start_of_running_work_is_refused_and_harms_nothing(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    wanted = pod("sleep 60")
    work = await running(engine, wanted)
    with pytest.raises(Exception, match="already in use"):
        await engine.start(wanted, Progress())
    assert engine_client.inspect_container(work.ref)["State"]["Running"]
    again = await the_work(engine, wanted)
    assert again is not None
    assert again.phase is Phase.RUNNING


@pytest.mark.feature("C4")
async def test_the_network_goes_with_its_work(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    wanted = pod("sleep 60")
    work = await running(engine, wanted)
    name = f"ganglion-{wanted.lease.lease_id}"
    assert [one["Name"] for one in engine_client.networks(names=[name])] == [name]
    await engine.end(work, drain_seconds=0)
    assert engine_client.networks(names=[name]) == []


@pytest.mark.feature("C4")
async def test_a_failed_start_leaves_no_network(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    wanted = pod("x", command=["/no/such/program"])
    with pytest.raises(StartRefused, match="no such file"):
        await engine.start(wanted, Progress())
    assert engine_client.networks(names=[f"ganglion-{wanted.lease.lease_id}"]) == []
    assert await the_work(engine, wanted) is None


def test_a_step_outside_the_table_is_a_conflict() -> None:
    life = Life(Stage.RUNNING)
    with pytest.raises(Conflict, match="running cannot be removed"):
        life.go(Step.REMOVE)
