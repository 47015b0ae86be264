"""What the agent takes on a host: memory and CPU with one container running, at a 10 s beat.

A real agent with a real dockerd (from .parts) and a brain that answers at once. Eight GPUs are
told by a stand-in for NVIDIA's library, through the agent's own child process, which is counted.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import docker
import psutil

from bench.figure import Figure
from tests.support.agent_brain import AgentBrain, lease_of
from tests.support.agent_process import AgentProcess
from tests.support.nvml import StubGpu, build_stub
from tests.support.own_dockerd import own_daemon
from tests.support.worker_image import worker_image
from tools.parts import why_missing

WARM_SECONDS = 20
MEASURE_SECONDS = 60
READY_SECONDS_MAX = 120
NAMES = (
    "agent_host_rss_mib",
    "agent_host_reader_rss_mib",
    "agent_host_all_pss_mib",
    "agent_host_core_percent",
)
GPUS = 8
MIB = 1 << 20


async def figures(url: str, redis_url: str) -> list[Figure]:
    """Uses no store; takes about a minute and a half."""
    reason = why_missing("dockerd")
    if reason:
        return [Figure(name, None, "", reason) for name in NAMES]
    with tempfile.TemporaryDirectory(prefix="gng-bench-") as folder:
        home = Path(folder)
        with own_daemon(home) as server:
            client = docker.APIClient(base_url=server.url, version="auto", timeout=60)
            worker_image(client)
            client.close()
            return await _measured(home, server.url)


async def _measured(home: Path, address: str) -> list[Figure]:
    brain = AgentBrain(beat_seconds=10)
    await brain.start()
    nvml = build_stub(home)
    nvml.put(*(StubGpu(f"GPU-{number}") for number in range(GPUS)))
    agent = AgentProcess(
        home / "agent",
        brain.url,
        AGENT_ENGINE="docker",
        DOCKER_HOST=address,
        SIMULATE_GPUS="0",
        **nvml.environment,
    )
    agent.start()
    try:
        assert len(await brain.gpu_uuids(GPUS)) == GPUS
        lease = lease_of([])  # a container for the CPU: there is no card to hand in
        brain.want(lease)
        await brain.shows(lease.lease_id, "ready", READY_SECONDS_MAX)
        await asyncio.sleep(WARM_SECONDS)
        assert agent.process is not None
        root = psutil.Process(agent.process.pid)
        before = _cpu_seconds(root)
        await asyncio.sleep(MEASURE_SECONDS)
        used = _cpu_seconds(root) - before
        whole = [root, *root.children(recursive=True)]
        shared = sum(process.memory_full_info().pss for process in whole) / MIB
        readers = sum(process.memory_info().rss for process in whole[1:])
        return [
            Figure(NAMES[0], root.memory_info().rss / MIB, "MiB"),
            Figure(NAMES[1], readers / MIB, "MiB"),
            Figure(NAMES[2], shared, "MiB"),
            Figure(NAMES[3], used / MEASURE_SECONDS * 100, "%"),
        ]
    finally:
        agent.clean()
        await brain.stop()


def _cpu_seconds(root: psutil.Process) -> float:
    times = [process.cpu_times() for process in (root, *root.children(recursive=True))]
    return sum(one.user + one.system for one in times)


if __name__ == "__main__":
    for figure in asyncio.run(figures("", "")):
        print(figure.line(), flush=True)
