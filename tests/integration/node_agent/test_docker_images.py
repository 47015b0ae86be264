"""Pulls from a real registry: private ones, ones that stall, a disk that is too full."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import pytest

from kernel.wire.agent import RegistryLogin, SecretsAnswer
from node_agent.containers.images import ImageLimits
from node_agent.containers.pull import PullLimits
from node_agent.engine import Order, StartFailed, StartRefused
from node_agent.engine_docker import DockerEngine, Limits
from node_agent.report import Progress
from tests.support.docker_hand import docker_hand, ours, pod, running
from tests.support.folders import contents
from tests.support.registry import PASSWORD, Registry, dammed, padded, registry_in
from tests.support.worker_image import BUSYBOX

pytestmark = [pytest.mark.feature("C4"), pytest.mark.real("dockerd")]
MIB = 1 << 20
STALL_SECONDS = 4  # longer than Docker and the registry take to begin on a busy machine


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, dockerd: str) -> Iterator[Registry]:
    with registry_in(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
async def engine(
    dockerd: str, engine_client: docker.APIClient, tmp_path: Path
) -> AsyncIterator[DockerEngine]:
    async with docker_hand(dockerd, engine_client, tmp_path) as engine:
        yield engine


@pytest.fixture
def image(registry: Registry, engine_client: docker.APIClient) -> Iterator[str]:
    """The name of an image of 8 MiB that does not pack, which is in the registry alone."""
    name = f"team/app{os.getpid()}:{time.monotonic_ns()}"
    made = padded(engine_client, name)
    registry.holds(engine_client, made, name)
    engine_client.remove_image(made)
    yield name
    for one in engine_client.images():
        for tag in one["RepoTags"] or ():
            if tag.endswith(name):
                engine_client.remove_image(tag, force=True)


def private(image: str, login: RegistryLogin | None) -> Order:
    return pod("sleep 60", image=image, secrets=SecretsAnswer({}, login), command=[])


@pytest.mark.feature("E1")
async def test_a_private_image_is_pulled_with_its_login(
    engine: DockerEngine, registry: Registry, image: str, tmp_path: Path
) -> None:
    progress = Progress()
    await engine.start(private(registry.image(image), registry.login()), progress)
    assert len(await ours(engine)) == 1
    assert progress.total_mib >= 8
    assert progress.done_mib == progress.total_mib
    assert PASSWORD.encode() not in b"".join(contents(tmp_path).values())


@pytest.mark.feature("E1")
@pytest.mark.parametrize("login", ["none", "wrong"])
async def test_without_the_right_login_it_is_not_pulled(
    engine: DockerEngine, registry: Registry, image: str, login: str
) -> None:
    given = None if login == "none" else registry.login("not-it")
    with pytest.raises((StartFailed, StartRefused)) as failure:
        await engine.start(private(registry.image(image), given), Progress())
    assert image.partition(":")[0] in failure.value.detail
    assert "not-it" not in failure.value.detail
    assert await ours(engine) == []


@pytest.mark.feature("E1")
async def test_the_next_tenant_does_not_get_it_from_the_cache(
    engine: DockerEngine, engine_client: docker.APIClient, registry: Registry, image: str
) -> None:
    name = registry.image(image)
    await engine.start(private(name, registry.login()), Progress())
    ref = engine_client.inspect_image(name)["Id"]
    for used in (name, ref, ref.removeprefix("sha256:")[:12]):
        with pytest.raises((StartFailed, StartRefused)):
            await engine.start(private(used, None), Progress())
    await engine.start(private(name, registry.login()), Progress())
    assert len(await ours(engine)) == 2


@pytest.mark.feature("E1")
async def test_a_login_is_told_to_its_own_registry_alone(
    engine: DockerEngine, registry: Registry, image: str
) -> None:
    other = RegistryLogin("registry.example.com", "renter", PASSWORD)
    with pytest.raises(StartRefused, match=r"for the registry registry\.example\.com"):
        await engine.start(private(registry.image(image), other), Progress())


async def test_a_pull_that_stalls_ends_with_that_reason(
    dockerd: str,
    engine_client: docker.APIClient,
    tmp_path: Path,
    registry: Registry,
    image: str,
) -> None:
    progress = Progress()
    limits = Limits(pull=PullLimits(stall_seconds=STALL_SECONDS, total_seconds=600))
    async with (
        docker_hand(dockerd, engine_client, tmp_path, limits=limits) as engine,
        dammed(registry, bytes_max=3 * MIB) as (dam, port),
    ):
        wanted = private(registry.image(image, port), registry.login(port=port))
        with pytest.raises(StartFailed, match=f"stalled: no byte came for {STALL_SECONDS} s"):
            await engine.start(wanted, progress)
        assert dam.held.is_set()
        assert await ours(engine) == []
    assert progress.done_mib < progress.total_mib


async def test_a_pull_has_a_total_limit(
    dockerd: str,
    engine_client: docker.APIClient,
    tmp_path: Path,
    registry: Registry,
    image: str,
) -> None:
    limits = Limits(pull=PullLimits(stall_seconds=60, total_seconds=1))
    async with (
        docker_hand(dockerd, engine_client, tmp_path, limits=limits) as engine,
        dammed(registry, bytes_max=3 * MIB) as (_, port),
    ):
        wanted = private(registry.image(image, port), registry.login(port=port))
        with pytest.raises(StartFailed, match="given up after 1 s"):
            await engine.start(wanted, Progress())


async def test_a_pull_that_is_cancelled_ends_at_once(
    dockerd: str,
    engine_client: docker.APIClient,
    tmp_path: Path,
    registry: Registry,
    image: str,
) -> None:
    async with docker_hand(dockerd, engine_client, tmp_path) as engine:
        async with dammed(registry, bytes_max=3 * MIB) as (dam, port):
            wanted = private(registry.image(image, port), registry.login(port=port))
            start = asyncio.create_task(engine.start(wanted, Progress()))
            await asyncio.wait_for(dam.held.wait(), 30)
            start.cancel()
            began = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await start
            assert time.monotonic() - began < PullLimits().stall_seconds / 2
        assert await ours(engine) == []


async def test_nothing_is_pulled_onto_a_full_disk(
    dockerd: str,
    engine_client: docker.APIClient,
    tmp_path: Path,
    registry: Registry,
    image: str,
) -> None:
    limits = Limits(images=ImageLimits(reserve_mib=10**9))
    async with docker_hand(dockerd, engine_client, tmp_path, limits=limits) as engine:
        with pytest.raises(StartFailed, match="AGENT_DISK_RESERVE_MIB"):
            await engine.start(private(registry.image(image), registry.login()), Progress())
        local = await running(engine, pod("sleep 60"))  # what is here needs no room
        assert local.lease_id


async def test_unused_images_go_oldest_first_and_none_that_is_used(
    dockerd: str, engine_client: docker.APIClient, tmp_path: Path, registry: Registry
) -> None:
    names = [f"team/old{number}:{time.monotonic_ns()}" for number in range(3)]
    for name in names:
        made = padded(engine_client, name)
        registry.holds(engine_client, made, name)
        engine_client.remove_image(made)
    limits = Limits(images=ImageLimits(kept_mib_max=15))
    async with docker_hand(dockerd, engine_client, tmp_path, limits=limits) as engine:
        works = []
        for name in names:
            works.append(await running(engine, private(registry.image(name), registry.login())))
        for work in works[1:]:
            await engine.end(work, drain_seconds=0)
        await engine.tidy(works[0].installation_id, {works[0].lease_id})
        left = {tag for one in engine_client.images() for tag in one["RepoTags"] or ()}
        kept = [registry.image(name) in left for name in names]
        assert kept == [True, False, True]
        assert BUSYBOX in left  # nobody of ours brought it
