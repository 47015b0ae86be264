"""Running containers are sampled: the GPUs that they see, and what they write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from kernel.clock import SystemClock
from node_agent.engine_docker import DockerEngine
from node_agent.gauges import Gauges, Subject
from tests.support.docker_hand import docker_hand, pod, running, said_inside

pytestmark = [pytest.mark.feature("C4"), pytest.mark.real("dockerd")]
DRIVER = """#!/bin/sh
cat /gpus
exit $(cat /code)
"""
SHOWN = "GPU 0: NVIDIA H200 (UUID: GPU-a)"


@pytest.fixture
async def engine(
    dockerd: str, engine_client: docker.APIClient, tmp_path: Path
) -> AsyncIterator[DockerEngine]:
    async with docker_hand(dockerd, engine_client, tmp_path) as engine:
        yield engine


def driver_says(shown: str, code: int) -> str:
    """A stand-in for NVIDIA's program, which its toolkit puts into containers with GPUs."""
    return (
        f"cat > /bin/nvidia-smi <<'END'\n{DRIVER}END\nbusybox chmod 755 /bin/nvidia-smi;"
        f" echo '{shown}' > /gpus; echo {code} > /code"
    )


async def test_gpus_that_vanish_from_a_container_are_seen_from_outside(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    work = replace(await running(engine, pod("sleep 300")), gpu_uuids=frozenset({"GPU-a"}))
    assert await engine.gpu_trouble(work) == ""  # the image has no such program
    said_inside(engine_client, work, driver_says(SHOWN, 0))
    assert await engine.gpu_trouble(work) == ""
    broken = driver_says("Failed to initialize NVML: Unknown Error", 255)
    said_inside(engine_client, work, broken)
    assert "Failed to initialize NVML" in await engine.gpu_trouble(work)


async def test_trouble_counts_when_it_is_seen_twice_in_a_row(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    work = replace(await running(engine, pod("sleep 300")), gpu_uuids=frozenset({"GPU-a"}))
    said_inside(engine_client, work, driver_says("No devices found.", 0))
    now = [0]
    gauges = Gauges(engine, lambda: now[0], kept=lambda _: "")
    await gauges.round([Subject(work)])
    assert gauges.gpu_trouble == {}
    now[0] += 61 * 10**9
    assert await gauges.round([Subject(work)])
    assert "lost GPU GPU-a" in gauges.gpu_trouble[work.lease_id].reason
    await gauges.round([])
    assert gauges.gpu_trouble == {}


async def test_what_it_writes_beyond_its_disk_is_a_breach(
    engine: DockerEngine, engine_client: docker.APIClient
) -> None:
    work = await running(engine, pod("sleep 300", disk_mib=10))
    gauges = Gauges(engine, SystemClock().monotonic_ns, kept=lambda _: "")
    await gauges.round([Subject(work, disk_mib=10)])
    assert (gauges.breaches, work.lease_id in gauges.usage) == ({}, True)
    said_inside(engine_client, work, "dd if=/dev/zero of=/file bs=1M count=90")
    again = Gauges(engine, SystemClock().monotonic_ns, kept=lambda _: "")
    assert await again.round([Subject(work, disk_mib=10)])
    assert "may write 10 MiB" in again.breaches[work.lease_id].reason
