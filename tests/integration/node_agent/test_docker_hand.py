"""The Docker hand against a real dockerd: hardening, failures, labels, logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import docker
import pytest
from msgspec.structs import replace

from node_agent.engine import Order, StartFailed, StartRefused, log_path
from node_agent.engine_docker import DockerEngine
from node_agent.records import Phase, Work
from node_agent.report import Progress
from tests.support.docker_hand import INSTALLATION, docker_hand, order, ours, running, the_work
from tests.support.wait import until

pytestmark = [pytest.mark.feature("C4"), pytest.mark.real("dockerd")]
TRIES_MAX = 5


@pytest.fixture
async def engine(
    dockerd: str, engine_client: docker.APIClient, tmp_path: Path
) -> AsyncIterator[DockerEngine]:
    async with docker_hand(dockerd, engine_client, tmp_path) as engine:
        yield engine


async def test_a_container_says_in_its_labels_whose_it_is(engine: DockerEngine) -> None:
    wanted = order("sleep 60")
    work = await running(engine, wanted)
    assert (work.lease_id, work.epoch) == (wanted.lease.lease_id, wanted.lease.epoch)
    assert (work.installation_id, work.gpu_uuids) == (INSTALLATION, {"GPU-a"})
    assert work.phase is Phase.RUNNING
    assert work.port > 0


@pytest.mark.feature("C5")
async def test_a_tenants_container_is_hardened(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    work = await running(engine, order("sleep 60", memory_mib=64))
    made = engine_client.inspect_container(work.ref)
    host = made["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    own_network = f"ganglion-{work.lease_id}"
    assert (host["Privileged"], host["NetworkMode"], host["Binds"]) == (False, own_network, None)
    assert (host["PidsLimit"], host["Memory"]) == (4096, 64 << 20)
    published = made["NetworkSettings"]["Ports"]["8000/tcp"]
    assert [entry["HostIp"] for entry in published] == ["127.0.0.1"]
    assert made["Mounts"] == []


async def test_it_cannot_gain_rights_inside(engine: DockerEngine, tmp_path: Path) -> None:
    wanted = order("cat /proc/self/status; sleep 60")
    work = await running(engine, wanted)
    path = log_path(tmp_path, wanted.lease.lease_id)

    async def printed() -> bool:
        await engine.collect_logs(work)
        return path.exists() and "\nSeccomp:" in path.read_text()  # behind what is looked at

    await until(printed)
    lines = dict(line.split(":\t") for line in path.read_text().splitlines() if ":\t" in line)
    assert {lines[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
    assert lines["NoNewPrivs"] == "1"


async def test_an_end_drains_then_removes(engine: DockerEngine) -> None:
    wanted = order("trap 'echo bye; exit 0' TERM; while true; do sleep 0.1; done")
    work = await running(engine, wanted)
    await engine.end(work, drain_seconds=10)
    assert await the_work(engine, wanted) is None


async def test_the_last_words_of_a_container_are_kept(engine: DockerEngine, tmp_path: Path) -> None:
    wanted = order("trap 'echo bye; exit 0' TERM; echo up; while true; do sleep 0.1; done")
    work = await running(engine, wanted)
    path = log_path(tmp_path, wanted.lease.lease_id)

    async def is_up() -> bool:
        await engine.collect_logs(work)
        return path.exists() and "up" in path.read_text()

    await until(is_up)
    await engine.end(work, drain_seconds=10)
    assert path.read_text().splitlines() == ["up", "bye"]


async def test_work_that_ignores_the_drain_is_killed(engine: DockerEngine) -> None:
    wanted = order("trap '' TERM; while true; do sleep 0.1; done")
    work = await running(engine, wanted)
    await engine.end(work, drain_seconds=0.5)
    assert await the_work(engine, wanted) is None


async def test_an_end_may_be_repeated(engine: DockerEngine) -> None:
    work = await running(engine, order("sleep 60"))
    await engine.end(work, drain_seconds=0)
    await engine.end(work, drain_seconds=0)
    assert await ours(engine) == []


async def test_logs_are_collected_once(engine: DockerEngine, tmp_path: Path) -> None:
    wanted = order("for i in 1 2 3; do echo line $i; done; sleep 60")
    work = await running(engine, wanted)
    path = log_path(tmp_path, wanted.lease.lease_id)

    async def all_there() -> bool:
        await engine.collect_logs(work)
        return path.exists() and "line 3" in path.read_text()

    await until(all_there)
    await engine.collect_logs(work)
    assert path.read_text().splitlines() == ["line 1", "line 2", "line 3"]


async def test_an_exit_is_told_with_its_code(engine: DockerEngine) -> None:
    wanted = order("exit 7")
    await engine.start(wanted, Progress())

    async def ended() -> Work | None:
        work = await the_work(engine, wanted)
        return work if work is not None and work.phase is Phase.EXITED else None

    work = await until(ended)
    assert work is not None
    assert work.exit_reason == "The container ended with exit code 7."


async def test_running_out_of_memory_is_told_as_that(engine: DockerEngine) -> None:
    wanted = order("x=$(yes | head -c 90000000); echo $x", memory_mib=16)
    await engine.start(wanted, Progress())

    async def reason() -> str:
        work = await the_work(engine, wanted)
        return work.exit_reason if work is not None else ""

    said = str(await until(reason, 60))
    assert said.startswith("The container was killed")
    assert "16 MiB" in said


async def test_a_failed_start_leaves_nothing(engine: DockerEngine) -> None:
    wanted = order("sleep 60")
    launch = replace(wanted.lease.launch, arguments=["/no/such/program"])
    broken = Order(replace(wanted.lease, launch=launch), INSTALLATION, True)
    with pytest.raises(StartRefused, match="no such file"):
        await engine.start(broken, Progress())
    assert await the_work(engine, wanted) is None


async def test_a_host_without_nvidia_runtime_is_told_what_to_install(
    engine: DockerEngine,
) -> None:
    with pytest.raises(StartRefused, match="NVIDIA Container"):
        await engine.start(order("sleep 60", simulated=False), Progress())
    assert await ours(engine) == []


async def test_a_pull_that_cannot_be_is_an_error_with_the_image(engine: DockerEngine) -> None:
    with pytest.raises((StartFailed, StartRefused), match="ganglion/none"):
        await engine.start(order("x", image="ganglion/none:1"), Progress())


async def test_the_rest_of_a_dead_start_does_not_block_the_next(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    wanted = order("sleep 60")
    work = await running(engine, wanted)
    engine_client.kill(work.ref)
    again = await running(engine, wanted)
    assert again.ref != work.ref


async def test_a_strangers_container_with_our_name_is_left_alone(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    wanted = order("sleep 60")
    name = f"ganglion-{wanted.lease.lease_id}"
    made = engine_client.create_container("ganglion/busybox:test", ["sleep", "1"], name=name)
    with pytest.raises(StartFailed):
        await engine.start(wanted, Progress())
    assert engine_client.inspect_container(made["Id"])["Name"] == f"/{name}"
    engine_client.remove_container(made["Id"])


async def test_a_start_given_up_leaves_nothing(engine: DockerEngine) -> None:
    for _ in range(TRIES_MAX):
        wanted = order("sleep 60")
        start = asyncio.create_task(engine.start(wanted, Progress()))
        await engine.version()  # one short call long: the start has begun
        if start.cancel():
            break
        await start  # on a busy machine it may be done already
    with pytest.raises(asyncio.CancelledError):
        await start
    assert await the_work(engine, wanted) is None


async def test_ends_of_many_at_once_each_end(engine: DockerEngine) -> None:
    wanted = [order("sleep 60") for _ in range(8)]
    await asyncio.gather(*(engine.start(one, Progress()) for one in wanted))
    works = await ours(engine)
    assert len(works) == 8
    await asyncio.gather(*(engine.end(work, 0) for work in works))
    assert await ours(engine) == []


async def test_another_installations_work_is_seen_and_not_ended(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    work = await running(engine, order("sleep 60"))
    mistaken = Work(**{**vars(work), "installation_id": "someone-else"})
    await engine.end(mistaken, drain_seconds=0)
    assert engine_client.inspect_container(work.ref)["State"]["Running"]
