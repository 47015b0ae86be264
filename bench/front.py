"""The front of pods beside nginx, in one run, rounds interleaved, medians; and its SSH.

All of the front's real work is on: heads judged on both sides, limits, deadlines, links that a node
dialled. Its way is longer than nginx's by the node's end of the link, which runs the agent's own
pump on the clients' core: rates are of the whole way, CPU is the front's alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import asyncssh
import psutil

from bench.figure import Figure
from bench.front_client import SLUG
from bench.front_peer import BYTES_PORT, MOCK_PORT
from bench.gateway_peers import start_nginx
from bench.rig import (
    BUILT,
    LOAD_CORE,
    ROOT,
    SERVER_CORE,
    CannotMeasure,
    Round,
    Server,
    build,
    free_port,
    measure,
    start,
)
from tests.support.pod_front import LINK_KEY, front_with, link_address, pod_row
from tools.part import CannotHave

ROUNDS = 5
SECONDS = 3.0
CONNECTIONS = 32
TRANSFER = 64 << 20
MIB = 1 << 20
IDLE = 500
CLIENT_SECONDS_MAX = 120
NEEDS = "front_request_x_nginx"
FREE = {  # limits that one client's address would meet
    "pod_connections_per_address_max": 100_000,
    "pod_connections_per_pod_max": 100_000,
    "pod_keepalive_seconds": 600,
    "ssh_connections_per_address_max": 1000,
}
Measured = tuple[float, float]  # what a second gave, and CPU microseconds of the server for one


@dataclass(frozen=True)
class Rig:
    """``hosts``: the Host that leads to the server of bytes, and to the mock worker, by server."""

    front: Server
    nginx: Server  # to the mock worker
    nginx_bytes: Server
    ssh_port: int
    key: Path

    def host(self, port: int) -> str:
        return f"{SLUG}-{port}.localhost:{self.front.port}"


async def figures(_database_url: str, _valkey_url: str) -> list[Figure]:
    """All ``front_*`` figures; takes about three minutes."""
    try:
        build("load")
        build("mock_worker")
        with tempfile.TemporaryDirectory(prefix="ganglion-bench-front-") as folder:
            async with _rig(Path(folder)) as rig:
                return await _measured(rig)
    except (CannotMeasure, CannotHave) as missing:
        return [Figure(NEEDS, None, "", str(missing))]


async def _measured(rig: Rig) -> list[Figure]:
    fresh = rig.front.rss_mib()
    requests = await _requests(rig)
    transfers = [f for kind in ("down", "up") for f in await _compared(rig, kind, TRANSFER / MIB)]
    frames = await _compared(rig, "echo", 0)
    shells = [f for kind in ("shell-down", "shell-up") for f in await _shell(rig, kind)]
    held = await _held(rig)
    return [
        *requests,
        *transfers,
        *frames,
        *shells,
        Figure("front_rss_mib", fresh, "MiB"),
        Figure(f"front_rss_mib_idle_{IDLE}", held, "MiB"),
    ]


async def _requests(rig: Rig) -> list[Figure]:
    """Short requests on kept-alive connections, by the load client that measures the gateway."""
    found: dict[str, list[Round]] = {"front": [], "nginx": []}
    for _ in range(ROUNDS):
        for server in (rig.front, rig.nginx):
            host = rig.host(MOCK_PORT) if server is rig.front else ""
            one = await measure(server, CONNECTIONS, SECONDS, "plain", host=host)
            if one.failed:
                raise CannotMeasure(f"{one.failed} requests failed at {server.name}")
            found[server.name].append(one)

    def middle(name: str, pick: Callable[[Round], float]) -> float:
        return median(pick(one) for one in found[name])

    mine, theirs = (middle(name, lambda one: one.cpu_us_request) for name in ("front", "nginx"))
    rates = {name: middle(name, lambda one: one.answered / SECONDS) for name in found}
    return [
        Figure(NEEDS, mine / theirs, "x"),
        Figure("front_request_cpu_us", mine, "us"),
        Figure("nginx_request_cpu_us", theirs, "us"),
        Figure("front_requests_per_s", rates["front"], "1/s"),
        Figure("nginx_requests_per_s", rates["nginx"], "1/s"),
    ]


async def _compared(rig: Rig, kind: str, pieces: float) -> list[Figure]:
    """Transfers (``pieces``: MiB of one) or frames, front and nginx in turn."""
    unit, per = ("frame", "frames") if kind == "echo" else ("mib", "mib")
    word = {"down": "download", "up": "upload", "echo": "frame"}[kind]
    found: dict[str, list[Measured]] = {"front": [], "nginx": []}
    for _ in range(ROUNDS):
        for name, server in (("front", rig.front), ("nginx", rig.nginx_bytes)):
            host = rig.host(BYTES_PORT) if name == "front" else "localhost"
            amount = (CONNECTIONS, SECONDS) if kind == "echo" else (TRANSFER,)
            found[name].append(await _one(server, kind, server.port, host, amount, pieces))
    made = []
    cpu = {name: median(one[1] for one in all_) for name, all_ in found.items()}
    label = word if kind == "echo" else f"{word}_{unit}"
    made.append(Figure(f"front_{label}_x_nginx", cpu["front"] / cpu["nginx"], "x"))
    for name, all_ in found.items():
        made.append(Figure(f"{name}_{label}_cpu_us", cpu[name], "us"))
        rate = median(one[0] for one in all_)
        made.append(Figure(f"{name}_{word}_{per}_per_s", rate, f"{per}/s"))
    return made


async def _shell(rig: Rig, kind: str) -> list[Figure]:
    word = kind.replace("shell-", "ssh_")
    found = [
        await _one(rig.front, kind, rig.ssh_port, str(rig.key), (TRANSFER,), TRANSFER / MIB)
        for _ in range(ROUNDS)
    ]
    return [
        Figure(f"front_{word}_mib_cpu_us", median(one[1] for one in found), "us"),
        Figure(f"front_{word}_mib_per_s", median(one[0] for one in found), "mib/s"),
    ]


async def _one(
    server: Server, kind: str, port: int, host: str, amount: tuple[float, ...], pieces: float
) -> Measured:
    """One run of a client; ``pieces`` 0: it counts them itself."""
    before = _cpu_us(server)
    client = await _client(kind, port, host, *amount)
    said, _ = await asyncio.wait_for(client.communicate(), CLIENT_SECONDS_MAX)
    used_us = _cpu_us(server) - before
    if client.returncode:
        raise CannotMeasure(f"the client of {kind} failed at {server.name}")
    told: dict[str, Any] = json.loads(said)
    if pieces:
        return pieces / told["seconds"], used_us / pieces
    return told["count"] / told["seconds"], used_us / told["all"]


def _cpu_us(server: Server) -> float:
    """By the scheduler's own count: a transfer takes but a few ticks of ``cpu_seconds``."""
    family = [psutil.Process(server.process.pid)]
    family += family[0].children(recursive=True)
    files = [file for one in family for file in Path(f"/proc/{one.pid}/task").glob("*/schedstat")]
    return sum(int(file.read_text().split()[0]) for file in files) / 1000


async def _held(rig: Rig) -> float:
    """The front's memory with connections that are idle, each with its link."""
    client = await _client("idle", rig.front.port, rig.host(BYTES_PORT), IDLE)
    assert client.stdout is not None, "opened as a pipe"
    assert client.stdin is not None, "opened as a pipe"
    line = await asyncio.wait_for(client.stdout.readline(), CLIENT_SECONDS_MAX)
    if not line:
        raise CannotMeasure("the idle connections could not be opened")
    found = rig.front.rss_mib()
    client.stdin.close()
    await client.wait()
    return found


async def _client(kind: str, port: int, host: str, *amount: float) -> asyncio.subprocess.Process:
    texts = [str(one) for one in amount]
    command = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "bench.front_client"]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *command, kind, str(port), host, *texts, cwd=ROOT, stdin=pipe, stdout=pipe
    )


@asynccontextmanager
async def _rig(home: Path) -> AsyncIterator[Rig]:
    key = asyncssh.generate_private_key("ssh-ed25519")
    key_file = home / "key"
    key_file.write_bytes(key.export_private_key())
    key_file.chmod(0o600)
    row = pod_row(
        SLUG, ports=[MOCK_PORT, BYTES_PORT], ssh_keys=[key.export_public_key().decode().strip()]
    )
    mock_port, bytes_port = free_port(), free_port()
    command = [str(BUILT / "mock_worker"), str(mock_port), "1", "1000"]
    servers = [await start("mock_worker", command, mock_port, core=LOAD_CORE)]
    try:
        async with front_with(home / "front", row, **FREE) as (process, brain):
            os.sched_setaffinity(process.process.pid, {SERVER_CORE})
            boot_id, url = link_address(brain)
            peer = [sys.executable, "-m", "bench.front_peer", str(bytes_port), str(mock_port)]
            peer += [boot_id, url, row.lease_id, LINK_KEY]
            servers.append(await start("front_peer", peer, bytes_port, core=LOAD_CORE))
            for name, worker in (("nginx", mock_port), ("nginx", bytes_port)):
                place = home / f"nginx-{worker}"
                place.mkdir()
                servers.append(await start_nginx(worker, place, name, upgrades=True))
            front = Server("front", process.port, process.process)
            yield Rig(front, servers[-2], servers[-1], process.ssh_port, key_file)
    finally:
        for server in reversed(servers):
            server.stop()
