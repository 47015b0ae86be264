"""Looks at this machine for the preflight: small reads, one bounded write, a few connections."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import structlog

from kernel.clock import Clock
from kernel.wire.agent import Beat, BeatAnswer, NvmlState, PreflightPoint
from node_agent.checks.preflight import Facts, Hardened, Reached, points
from node_agent.engine import Hold

log = structlog.get_logger(__name__)
WRITE_BYTES = 16 << 20
WRITE_STEP = 1 << 20
CONNECT_SECONDS_MAX = 5.0
LOOK_SECONDS_MAX = 60.0
FIRST_SECONDS = 5.0  # after the start, when the brain has answered
DAY_SECONDS = 86_400.0
GATEWAYS_MAX = 8
LOOPBACK = ("127.", "::1", "::ffff:127.")


@dataclass
class Preflight:
    """An ``Extra``: looks at each start and once a day; tells what changed, until it was heard."""

    home: Path
    holds: Callable[[], Awaitable[list[Hold]]]  # of tenants' isolation
    client: httpx.AsyncClient
    clock: Clock
    _last: Beat | None = None
    _gateways: list[str] = field(default_factory=list)
    _found: list[PreflightPoint] | None = None
    _news: bool = False
    _sent: bool = False

    def tell(self, beat: Beat) -> None:
        self._last = beat
        self._sent = self._news
        if self._news:
            beat.preflight = self._found

    def hear(self, answer: BeatAnswer, sent_ns: int) -> None:
        self._gateways = [one.url for one in answer.gateways[:GATEWAYS_MAX]]
        if self._sent:
            self._news = False

    async def run(self) -> None:
        await self.clock.sleep(FIRST_SECONDS)
        while True:
            while self._last is None:
                await self.clock.sleep(FIRST_SECONDS)
            try:
                async with asyncio.timeout(LOOK_SECONDS_MAX):
                    found = points(await self.facts(self._last))
                if found != self._found:
                    self._found, self._news = found, True
            except (OSError, TimeoutError) as failure:
                log.warning("preflight_failed", reason=repr(failure)[:200])
            await self.clock.sleep(DAY_SECONDS)

    async def facts(self, beat: Beat) -> Facts:
        """What can be seen now. Takes a few seconds at most."""
        offset, brain = await self._brain()
        reached = [brain, *[await _reach("gateway", url) for url in self._gateways]]
        holds = await self.holds()
        docker = beat.host.engine == "docker"
        return Facts(
            host=beat.host,
            nvml=NvmlState(beat.nvml),
            gpus=beat.gpus,
            kernel=platform.release(),
            cgroup=cgroup_version(),
            toolkit=shutil.which("nvidia-container-cli") is not None if docker else None,
            disk_mib_s=await asyncio.to_thread(write_speed, self.home),
            clock_offset_seconds=offset,
            reached=reached,
            inbound=await asyncio.to_thread(inbound),
            hardening=[Hardened(one.name, one.holds, one.detail) for one in holds] or None,
        )

    async def _brain(self) -> tuple[float | None, Reached]:
        """Our clock less the brain's, by the Date of its answer, and whether it was reached."""
        try:
            answer = await self.client.get("/health/live", timeout=CONNECT_SECONDS_MAX)
        except httpx.HTTPError as failure:
            return None, Reached("brain", type(failure).__name__)
        with suppress(TypeError, ValueError):
            said = parsedate_to_datetime(answer.headers.get("date", ""))
            return self.clock.now_ns() / 1e9 - said.timestamp(), Reached("brain")
        return None, Reached("brain")


async def _reach(what: str, url: str) -> Reached:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    named = f"{what} {parts.hostname}:{port}"
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            _, writer = await asyncio.open_connection(parts.hostname or "", port)
        writer.close()
    except (OSError, TimeoutError) as failure:
        return Reached(named, type(failure).__name__)
    return Reached(named)


def write_speed(home: Path) -> float | None:
    """MiB a second of one small write that reaches the disk; None where none can be made."""
    path = home / ".write-test"
    block = os.urandom(WRITE_STEP)
    began = time.perf_counter()
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(WRITE_BYTES // WRITE_STEP):
                file.write(block)
            os.fsync(file.fileno())
    except OSError:
        return None
    finally:
        path.unlink(missing_ok=True)
    return (WRITE_BYTES >> 20) / max(time.perf_counter() - began, 1e-6)


def cgroup_version() -> int:
    return 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1


def inbound() -> Sequence[str]:
    """Addresses beyond loopback on which this process takes connections: none, by design."""
    try:
        found = psutil.Process().net_connections(kind="inet")
    except psutil.Error:
        return []
    return sorted(
        f"{one.laddr.ip}:{one.laddr.port}"
        for one in found
        if one.status == psutil.CONN_LISTEN and not one.laddr.ip.startswith(LOOPBACK)
    )
