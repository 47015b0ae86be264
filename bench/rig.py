"""The rig of the gateway's bench: C tools built, servers pinned to core 0, their CPU counted.

Server under test on core 0; mock worker and load client on core 1 (the last core). CPU is utime
plus stime of the server and its children, before and after a round, over what was answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / ".cache" / "bench"
SERVER_CORE, LOAD_CORE = 0, (os.cpu_count() or 1) - 1
KEY = "gk_" + "bench" * 8 + "abc"


class CannotMeasure(Exception):
    """The words say what this machine lacks."""


def build(name: str) -> Path:
    """Compile ``bench/<name>.c``; raises ``CannotMeasure`` where there is no C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise CannotMeasure("no C compiler for the load client and the mock worker")
    source, made = ROOT / "bench" / f"{name}.c", BUILT / name
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        BUILT.mkdir(parents=True, exist_ok=True)
        subprocess.run([compiler, "-O2", "-o", str(made), str(source)], check=True, timeout=60)
    return made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Server:
    """A process under test or beside it, in a group of its own."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        family = [psutil.Process(self.process.pid)]
        family += family[0].children(recursive=True)
        return sum(sum(one.cpu_times()[:2]) for one in family)

    def rss_mib(self) -> float:
        rss: int = psutil.Process(self.process.pid).memory_info().rss
        return rss / 2**20

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


async def start(
    name: str,
    command: list[str],
    port: int,
    *,
    core: int,
    env: dict[str, str] | None = None,
    seconds_max: int = 30,
) -> Server:
    """Start and wait until it accepts connections; raises ``CannotMeasure`` with its last words."""
    log = BUILT / f"{name}.log"
    process = _launch(["taskset", "-c", str(core), *command], log, env or {})
    server = Server(name, port, process)
    for _ in range(10 * seconds_max):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        if process.poll() is not None:
            break
        await asyncio.sleep(0.1)
    if process.poll() is None:
        server.stop()
    raise CannotMeasure(f"{name} did not start: {log.read_text()[-200:].strip()}")


def _launch(command: list[str], log: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    BUILT.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as sink:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **env},
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )


@dataclass(frozen=True)
class Round:
    """What one run of the load client against one server gave."""

    cpu_us_request: float
    cpu_us_chunk: float
    latency_p50_ms: float
    latency_p99_ms: float
    ttft_p50_ms: float
    ttft_p99_ms: float
    failed: int
    answered: int
    aborted: int
    midway: int  # of those, in the middle of a stream
    streams: int  # that came whole, after the warm-up


async def measure(
    server: Server, connections: int, seconds: float, kind: str, *, host: str = ""
) -> Round:
    """One round of a kind that ``load.c`` names; ``host``: not the address."""
    pinned = ["taskset", "-c", str(LOAD_CORE), str(BUILT / "load")]
    command = [*pinned, str(server.port), str(connections), str(seconds), KEY, kind]
    command += [host] if host else []
    before = server.cpu_seconds()
    load = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(load.communicate(), seconds + 60)
    used_us = (server.cpu_seconds() - before) * 1e6
    told: dict[str, Any] = json.loads(said)
    return Round(
        cpu_us_request=used_us / max(told["all"], 1),
        cpu_us_chunk=used_us / max(told["all_chunks"], 1),
        latency_p50_ms=told["latency_us"]["p50"] / 1000,
        latency_p99_ms=told["latency_us"]["p99"] / 1000,
        ttft_p50_ms=told["ttft_us"]["p50"] / 1000,
        ttft_p99_ms=told["ttft_us"]["p99"] / 1000,
        failed=told["bad"] + told["lost"],
        answered=told["all"],
        aborted=told["aborted"],
        midway=told["midway"],
        streams=told["streams"],
    )
