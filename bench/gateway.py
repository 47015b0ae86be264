"""The gateway beside nginx, vllm-router and litellm, in one run, rounds interleaved, medians.

All of the gateway's real work is on: key look-up, admission, the key's limits (requests and tokens
a minute, requests at once), replica choice, metering, and the durable spool (run from a snapshot
file; an account's own deployment, so no escrow slice).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench.figure import Figure
from bench.gateway_peers import start_litellm, start_nginx, start_router
from bench.rig import (
    KEY,
    LOAD_CORE,
    SERVER_CORE,
    CannotMeasure,
    Round,
    Server,
    build,
    free_port,
    measure,
    start,
)
from inference.spool import find_remains
from kernel.wire.gateway import SegmentEnd
from tools.part import CannotHave

ROUNDS, STREAM_ROUNDS = 5, 5
SECONDS = 3.0
STREAM_SECONDS = 6.0  # three streams of two seconds on each connection, more or less
CALM = 4  # connections that leave the servers time: what a request waits is its own work
CHUNKS, INTERVAL_US = 100, 20_000
MANY = 2000  # streams at once
LARGE = 8  # connections on which much is asked, or answered
HEAVY = ("prompt", "answer", "large")  # 100 KB asked, 1 MB answered, both
Results = dict[str, list[Round]]


def snapshot(port: int) -> dict[str, object]:
    """One key, one account, one deployment ``m`` with one replica on ``port``."""
    account, deployment = "acct_" + "a" * 32, "dep_" + "a" * 32
    return {
        "keys": [
            {
                "key_id": "key_" + "a" * 32,
                "digest": hashlib.sha256(KEY.encode()).hexdigest(),
                "account_id": account,
                "requests_per_minute": 100_000_000,
                "tokens_per_minute": 100_000_000_000,
                "requests_at_once": 100_000,
            }
        ],
        "accounts": [{"account_id": account, "cache_salt": "salt"}],
        "deployments": [
            {"deployment_id": deployment, "account_id": account, "name": "m", "model": "m"}
        ],
        "replicas": [
            {
                "replica_id": "rep_" + "a" * 32,
                "deployment_id": deployment,
                "lease_id": "lease_" + "a" * 32,
                "epoch": 1,
                "gpus": 1,
                "link": {"port": port},
            }
        ],
    }


async def start_gateway(worker: int, home: Path) -> Server:
    port, file = free_port(), home / "snapshot.json"
    file.write_text(json.dumps(snapshot(worker)))
    command = [sys.executable, "-m", "inference.app", "--snapshot", str(file), "--port", str(port)]
    env = {"GATEWAY_SPOOL_DIR": str(home / "spool"), "GATEWAY_SPOOL_BYTES_MAX": str(8 << 30)}
    return await start("gateway", command, port, core=SERVER_CORE, env=env)


async def rounds(servers: list[Server], connections: int, kind: str) -> Results:
    """Each server once a round, in turn, so that a noisy moment hits them alike."""
    found: Results = {server.name: [] for server in servers}
    seconds = STREAM_SECONDS if kind == "stream" else SECONDS
    for _ in range(STREAM_ROUNDS if kind == "stream" else ROUNDS):
        for server in servers:
            found[server.name].append(await measure(server, connections, seconds, kind))
    return found


def middle(found: Results, name: str, pick: Callable[[Round], float]) -> float:
    return median(pick(one) for one in found[name])


def spooled_ends(folder: Path) -> Counter[str]:
    """Requests whose end lies in the gateway's spool, by how they ended."""
    remains = find_remains(folder, own="")
    ends = Counter[str](s.end for one in remains for s in one.segments())
    del ends[SegmentEnd.OPEN]
    return ends


async def figures(_database_url: str, _valkey_url: str) -> list[Figure]:
    """All ``gateway_*`` figures; those that need a missing peer say which."""
    try:
        build("load")
        mock = str(build("mock_worker"))
    except CannotMeasure as missing:
        return [Figure("gateway_request_x_nginx_c32", None, "", str(missing))]
    home = Path(tempfile.mkdtemp(prefix="ganglion-bench-gateway-"))
    port = free_port()
    command = [mock, str(port), str(CHUNKS), str(INTERVAL_US)]
    servers = [await start("mock_worker", command, port, core=LOAD_CORE)]
    try:
        gateway = await start_gateway(port, home)
        servers.append(gateway)
        nginx = await start_nginx(port, home)
        servers.append(nginx)
        others = await _others(port, home)
        servers += [other for other in others.values() if isinstance(other, Server)]
        made, answered = await _compare(gateway, nginx, others)
        gateway.stop()
        servers.remove(gateway)
        unmetered = answered - spooled_ends(home / "spool").total()
        broken = int(made[-1].value or 0)
        return [*made[:-1], Figure("gateway_lost", broken + abs(unmetered), "streams+usage_rows")]
    except CannotHave as missing:
        return [Figure("gateway_request_x_nginx_c32", None, "", f"nginx: {missing}")]
    finally:
        for server in reversed(servers):
            server.stop()
        shutil.rmtree(home, ignore_errors=True)


async def _others(worker: int, home: Path) -> dict[str, Server | str]:
    """The peers that are optional, by the name of their figure, or why one cannot be had."""
    found: dict[str, Server | str] = {}
    for name, begun in (
        ("gateway_request_x_vllm_router", start_router(worker)),
        ("gateway_request_x_litellm", start_litellm(worker, home)),
    ):
        try:
            found[name] = await begun
        except CannotMeasure as missing:
            found[name] = str(missing)
    return found


async def _compare(
    gateway: Server, nginx: Server, others: dict[str, Server | str]
) -> tuple[list[Figure], int]:
    """The figures, the last of them what failed at the gateway; and how much it answered."""
    peers = [gateway, nginx, *(one for one in others.values() if isinstance(one, Server))]
    small = await rounds(peers, 32, "plain")
    large = await rounds([gateway, nginx], 256, "plain")
    calm = await rounds([gateway, nginx], CALM, "plain")
    streams = await rounds([gateway, nginx], 64, "stream")
    many = await rounds([gateway, nginx], 256, "stream")
    rss_mib = gateway.rss_mib()
    heavy = {kind: await rounds([gateway, nginx], LARGE, kind) for kind in HEAVY}
    most = await measure(gateway, MANY, STREAM_SECONDS, "stream")

    def times(found: Results, other: Server, pick: Callable[[Round], float]) -> float:
        return middle(found, "gateway", pick) / middle(found, other.name, pick)

    def request(one: Round) -> float:
        return one.cpu_us_request

    def chunk(one: Round) -> float:
        return one.cpu_us_chunk

    def added(found: Results, pick: Callable[[Round], float]) -> float:
        return middle(found, "gateway", pick) - middle(found, "nginx", pick)

    all_of = (small, large, calm, *heavy.values(), streams, many)
    mine = [*(one for found in all_of for one in found["gateway"]), most]
    made = [
        Figure("gateway_request_x_nginx_c32", times(small, nginx, request), "x"),
        Figure("gateway_request_x_nginx_c256", times(large, nginx, request), "x"),
        *(
            Figure(name, times(small, other, request), "x")
            if isinstance(other, Server)
            else Figure(name, None, "", other)
            for name, other in others.items()
        ),
        *(
            Figure(f"gateway_{kind}_x_nginx", times(found, nginx, request), "x")
            for kind, found in heavy.items()
        ),
        Figure("gateway_chunk_x_nginx_64", times(streams, nginx, chunk), "x"),
        Figure("gateway_chunk_x_nginx_256", times(many, nginx, chunk), "x"),
        Figure("gateway_added_p50_ms", added(calm, lambda one: one.latency_p50_ms), "ms"),
        Figure("gateway_added_p99_ms", added(calm, lambda one: one.latency_p99_ms), "ms"),
        Figure("gateway_ttft_p50_ms_256", added(many, lambda one: one.ttft_p50_ms), "ms"),
        Figure("gateway_ttft_p99_ms_256", added(many, lambda one: one.ttft_p99_ms), "ms"),
        Figure("gateway_lost_of_2000_streams", most.failed, "streams"),
        Figure("gateway_rss_mib", rss_mib, "MiB"),
        Figure("gateway_rss_mib_after_2000", gateway.rss_mib(), "MiB"),
        Figure("gateway_request_cpu_us_c32", middle(small, "gateway", request), "us"),
        Figure("nginx_request_cpu_us_c32", middle(small, "nginx", request), "us"),
        Figure("failed", sum(one.failed for one in mine), ""),
    ]
    return made, sum(one.answered for one in mine)
