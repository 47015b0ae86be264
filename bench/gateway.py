"""The gateway beside nginx and vllm-router, in one run, rounds interleaved, medians.

All of the gateway's real work is on: key look-up, admission, replica choice, metering, and the
durable spool (run from a snapshot file; an account's own deployment, so no escrow slice).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench.figure import Figure
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
from tools.debian_parts import DEBIAN, debian
from tools.part import PARTS, CannotHave

ROUNDS, STREAM_ROUNDS = 5, 5
SECONDS = 3.0
STREAM_SECONDS = 6.0  # three streams of two seconds on each connection, more or less
CALM = 4  # connections that leave the servers time: what a request waits is its own work
CHUNKS, INTERVAL_US = 100, 20_000
NGINX = ["nginx", "nginx-common", "libpcre2-8-0", "libssl3", "zlib1g", "libcrypt1"]
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


async def start_nginx(
    worker: int, home: Path, name: str = "nginx", *, upgrades: bool = False
) -> Server:
    """``upgrades``: what asks for WebSocket gets it, and bodies of any size pass unbuffered."""
    connection = "$onwards" if upgrades else "''"
    folder = shutil.which("nginx")
    binary = Path(folder) if folder else debian(NGINX, DEBIAN / "nginx") / "usr/sbin/nginx"
    root = binary.parents[2]
    port, place = free_port(), home / "nginx"
    place.mkdir()
    (place / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {place}/pid; error_log stderr error;"
        "events { worker_connections 4096; } http { access_log off;"
        + "".join(
            f"{kind}_temp_path {place}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + "map $http_upgrade $onwards { default upgrade; '' ''; }"
        + f"upstream worker {{ server 127.0.0.1:{worker}; keepalive 512; }}"
        f"server {{ listen 127.0.0.1:{port}; keepalive_requests 100000000; location / {{"
        "proxy_pass http://worker; proxy_http_version 1.1;"
        f"proxy_set_header Connection {connection};"
        + ("proxy_set_header Upgrade $http_upgrade; client_max_body_size 0;" if upgrades else "")
        + ("proxy_request_buffering off;" if upgrades else "")
        + "proxy_buffering off; } } }"
    )
    libraries = ":".join(
        str(root / part) for part in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
    )
    env = {} if folder else {"LD_LIBRARY_PATH": libraries}
    command = [str(binary), "-p", str(place), "-c", str(place / "nginx.conf"), "-e", "stderr"]
    return await start(name, command, port, core=SERVER_CORE, env=env)


async def start_router(worker: int) -> Server:
    binary = PARTS / "peers" / "vllm-router" / "bin" / "vllm-router"
    if not binary.exists():
        raise CannotMeasure("run `make bench-peers` first")
    port = free_port()
    command = [str(binary), "--worker-urls", f"http://127.0.0.1:{worker}", "--port", str(port)]
    return await start("vllm-router", [*command, "--policy", "round_robin"], port, core=SERVER_CORE)


async def rounds(servers: list[Server], connections: int, kind: str) -> Results:
    """Each server once a round, in turn, so that a noisy moment hits them alike."""
    found: Results = {server.name: [] for server in servers}
    seconds = STREAM_SECONDS if kind == "stream" else SECONDS
    for _ in range(ROUNDS if kind == "plain" else STREAM_ROUNDS):
        for server in servers:
            found[server.name].append(await measure(server, connections, seconds, kind))
    return found


def middle(found: Results, name: str, pick: Callable[[Round], float]) -> float:
    return median(pick(one) for one in found[name])


def spooled_ends(folder: Path) -> int:
    """Requests whose end lies in the gateway's spool."""
    remains = find_remains(folder, own="")
    return sum(s.end != "open" for one in remains for s in one.segments())


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
        router, why = None, ""
        try:
            router = await start_router(port)
            servers.append(router)
        except CannotMeasure as missing:
            why = str(missing)
        made, answered = await _compare(gateway, nginx, router, why)
        gateway.stop()
        servers.remove(gateway)
        unmetered = answered - spooled_ends(home / "spool")
        broken = int(made[-1].value or 0)
        return [*made[:-1], Figure("gateway_lost", broken + abs(unmetered), "streams+usage_rows")]
    except CannotHave as missing:
        return [Figure("gateway_request_x_nginx_c32", None, "", f"nginx: {missing}")]
    finally:
        for server in reversed(servers):
            server.stop()
        shutil.rmtree(home, ignore_errors=True)


async def _compare(
    gateway: Server, nginx: Server, router: Server | None, why: str
) -> tuple[list[Figure], int]:
    """The figures, the last of them what failed at the gateway; and how much it answered."""
    peers = [gateway, nginx, *([router] if router else [])]
    small = await rounds(peers, 32, "plain")
    large = await rounds([gateway, nginx], 256, "plain")
    calm = await rounds([gateway, nginx], CALM, "plain")
    streams = await rounds([gateway, nginx], 64, "stream")
    many = await rounds([gateway, nginx], 256, "stream")

    def times(found: Results, other: Server, pick: Callable[[Round], float]) -> float:
        return middle(found, "gateway", pick) / middle(found, other.name, pick)

    def request(one: Round) -> float:
        return one.cpu_us_request

    def chunk(one: Round) -> float:
        return one.cpu_us_chunk

    def added(found: Results, pick: Callable[[Round], float]) -> float:
        return middle(found, "gateway", pick) - middle(found, "nginx", pick)

    mine = [one for found in (small, large, calm, streams, many) for one in found["gateway"]]
    beside = Figure("gateway_request_x_vllm_router", None, "", why)
    if router is not None:
        beside = Figure(beside.name, times(small, router, request), "x")
    made = [
        Figure("gateway_request_x_nginx_c32", times(small, nginx, request), "x"),
        Figure("gateway_request_x_nginx_c256", times(large, nginx, request), "x"),
        beside,
        Figure("gateway_chunk_x_nginx_64", times(streams, nginx, chunk), "x"),
        Figure("gateway_chunk_x_nginx_256", times(many, nginx, chunk), "x"),
        Figure("gateway_added_p50_ms", added(calm, lambda one: one.latency_p50_ms), "ms"),
        Figure("gateway_ttft_p50_ms_256", added(many, lambda one: one.ttft_p50_ms), "ms"),
        Figure("gateway_rss_mib", gateway.rss_mib(), "MiB"),
        Figure("gateway_request_cpu_us_c32", middle(small, "gateway", request), "us"),
        Figure("nginx_request_cpu_us_c32", middle(small, "nginx", request), "us"),
        Figure("failed", sum(one.failed for one in mine), ""),
    ]
    return made, sum(one.answered for one in mine)
