"""Heartbeats a second for each core that the brain, PostgreSQL and Valkey use together.

The brain runs as its own process, as in production; agents are kept connections with signed
beats of 8 GPUs (about 2 KB). Their own work is not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from time import perf_counter

import psutil
from redis.asyncio import Redis
from sqlalchemy import text

from bench.figure import Figure
from bench.fleet_rows import BOOT, START, add_nodes, system_ctx
from brain import migrate
from brain.fleet import session_secret
from brain.fleet.session import Session, new_session
from brain.plumbing import Ctx
from kernel.ids import NodeId
from kernel.wire import encode
from kernel.wire.agent import (
    MAC_HEADER,
    SEQ_HEADER,
    SESSION_HEADER,
    Beat,
    GpuReading,
    HostReading,
    NvmlState,
    mac,
)
from tests.support.wait import free_port, until

NODES = 400
CONNECTIONS = 32
WARM_SECONDS = 2.0
SECONDS = 6.0
GPUS = 8
PATH = "/agent/v1/beat"


async def figures(url: str, redis_url: str) -> list[Figure]:
    """One run of the real brain against the database and Valkey of these addresses."""
    await migrate.upgrade(url)
    ctx = system_ctx(url)
    try:
        nodes = await add_nodes(ctx, NODES, gpus=GPUS)
        key = secrets.token_bytes(32)
        async with _brain(url, redis_url, key) as (port, pid):
            rate = await _measure(ctx, redis_url, port, pid, _agents(ctx, nodes, key))
    finally:
        await ctx.db.close()
    return [Figure("heartbeats_per_s_core", rate, "1/s")]


@dataclass
class Beating:
    """One node's agent: its next signed beat, ready to be sent."""

    session: Session
    body: bytes
    number: int = 0

    def next_call(self) -> bytes:
        self.number += 1
        code = mac(self.session.key, "POST", PATH, self.number, self.body)
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: brain\r\nContent-Type: application/json\r\n"
            f"{SESSION_HEADER}: {self.session.session_id}\r\n{SEQ_HEADER}: {self.number}\r\n"
            f"{MAC_HEADER}: {code}\r\nContent-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


def _agents(ctx: Ctx, nodes: list[NodeId], key: bytes) -> list[Beating]:
    secret, now_ns = session_secret(key), ctx.clock.now_ns()
    return [
        Beating(
            new_session(
                secret, node_id=node, agent_start_id=START, host_boot_id=BOOT, now_ns=now_ns
            ),
            encode(_beat(node)),
        )
        for node in nodes
    ]


def _beat(node: NodeId) -> Beat:
    gpus = [
        GpuReading(
            uuid=f"{node}-{place}",
            name="NVIDIA L4",
            memory_total_mib=23034,
            memory_used_mib=20000,
            utilisation_percent=90,
            temperature_c=61,
            power_mw=70_500,
            power_limit_mw=72_000,
            energy_mj=1_234_567_890,
            sm_clock_mhz=2040,
            memory_clock_mhz=6251,
            throttle_reasons=4,
            ecc_uncorrected=1,
            process_count=1,
        )
        for place in range(GPUS)
    ]
    host = HostReading(hostname="bench", os="Debian 12", cpu_count=64, engine="process")
    return Beat(str(node), BOOT, 1, NvmlState.OK, gpus, host, [], agent_version="1")


@contextlib.asynccontextmanager
async def _brain(url: str, redis_url: str, key: bytes) -> AsyncIterator[tuple[int, int]]:
    port = free_port()
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "REDIS_URL": redis_url,
        "JWT_SECRET_KEY": secrets.token_urlsafe(64),
        "MASTER_KEY": key.hex(),
        "GATEWAY_TOKEN": secrets.token_hex(32),
        "INSTALLATION_ID": "bench",
        "BRAIN_PORT": str(port),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "brain.app",
        env=environment,
        stderr=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: _listens(port), 30)
        yield port, process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _listens(port: int) -> bool:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return True


async def _measure(ctx: Ctx, redis_url: str, port: int, pid: int, agents: list[Beating]) -> float:
    sent = [0]
    own = [agents[place::CONNECTIONS] for place in range(CONNECTIONS)]
    runs = [asyncio.create_task(_connection(port, part, sent)) for part in own]
    valkey = Redis.from_url(redis_url)
    try:
        await _pause(WARM_SECONDS)
        postgres = await _postgres_pids(ctx)
        before, count = await _cpu_seconds(pid, postgres, valkey), sent[0]
        await _pause(SECONDS)
        used, done = await _cpu_seconds(pid, postgres, valkey) - before, sent[0] - count
    finally:
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
        await valkey.aclose()
    for run in runs:
        if not run.cancelled() and (failure := run.exception()) is not None:
            raise failure
    return done / used


async def _connection(port: int, agents: list[Beating], sent: list[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        for agent in agents:
            writer.write(agent.next_call())
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"a beat was refused: {head[:200]!r}")
            length = int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
            sent[0] += 1


async def _pause(seconds: float) -> None:
    end = perf_counter() + seconds
    await until(lambda: perf_counter() >= end, seconds + 5, every=0.05)


async def _postgres_pids(ctx: Ctx) -> list[int]:
    """The server's own processes and the brain's connections, where they are on this machine."""
    async with ctx.db.begin() as tx:
        rows = await tx.execute(text("SELECT pid FROM pg_stat_activity"))
        return [row.pid for row in rows]


async def _cpu_seconds(pid: int, postgres: list[int], valkey: Redis) -> float:
    said = await valkey.info("cpu")
    cache = float(said["used_cpu_user"]) + float(said["used_cpu_sys"])
    return cache + sum(_of(process) for process in _processes([pid, *postgres]))


def _processes(pids: list[int]) -> Iterator[psutil.Process]:
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            yield psutil.Process(pid)


def _of(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
