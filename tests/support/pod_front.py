"""The front of pods as a real process: ``front = await start_front(brain, tmp_path)``."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cli.embedded.child import die_with_parent
from kernel.wire.gateway import LinkRow, PodRow, PodState, Snapshot
from tests.support.brain_double import TOKEN, BrainDouble, brain_double
from tests.support.gateway import listening, numbered
from tests.support.shared import ROOT
from tests.support.wait import until

START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
LINK_KEY = "5a" * 32


def pod_row(slug: str = "mypod", number: int = 1, **fields: object) -> PodRow:
    """A running pod with port 8000 opened."""
    values: dict[str, object] = {
        "account_id": numbered("acct", 2),
        "lease_id": numbered("lease", number),
        "epoch": 1,
        "link": LinkRow(kind="reverse", key=LINK_KEY),
        "ports": [8000],
        "state": PodState.RUNNING,
        "ssh": True,
        **fields,
    }
    return PodRow(pod_id=numbered("pod", number), slug=slug, **values)  # type: ignore[arg-type]


@dataclass
class PodFront:
    """A running front."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int
    ssh_port: int
    domain: str
    home: Path

    def url(self, slug: str = "mypod", port: int = 8000) -> str:
        return f"http://{slug}-{port}.{self.domain}:{self.port}"

    def host(self, slug: str = "mypod", port: int = 8000) -> str:
        return f"{slug}-{port}.{self.domain}:{self.port}"

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(STOP_SECONDS_MAX)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def launch_front(home: Path, brain_url: str, token: str = TOKEN, **settings: object) -> PodFront:
    """Start one and wait until it listens. Settings are environment names in small letters."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "BRAIN_URL": brain_url,
        "GATEWAY_TOKEN": token,
        "POD_FRONT_PORT": "0",
        "SSH_PORT": "0",
        "SSH_HOST_KEY_DIR": str(home / "ssh"),
        **{name.upper(): str(value) for name, value in settings.items()},
    }
    log = home / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "inference.pods"],
            cwd=ROOT,
            env=environment,
            stderr=output,
            preexec_fn=die_with_parent(),
        )
    deadline = time.monotonic() + START_SECONDS_MAX
    while (line := listening(log)) is None:
        assert process.poll() is None, f"the front did not start: {log.read_text()}"
        assert time.monotonic() < deadline, f"the front does not listen: {log.read_text()}"
        time.sleep(0.02)
    said = json.loads(line)
    return PodFront(process, log, said["port"], said["ssh_port"], said["domain"], home)


def link_address(brain: BrainDouble) -> tuple[str, str]:
    """The boot id and link URL that the last follower told the brain."""
    query = parse_qs(urlsplit(brain.followers[-1]).query)
    return query["boot_id"][0], query["link_url"][0]


@asynccontextmanager
async def front_with(
    home: Path, *rows: PodRow, **settings: Any
) -> AsyncIterator[tuple[PodFront, BrainDouble]]:
    """A front whose brain tells of these pods, and that has heard of them."""
    async with brain_double(Snapshot(pods=list(rows))) as brain:
        front = await asyncio.to_thread(launch_front, home, brain.url, **settings)
        try:
            await until(lambda: brain.followers, START_SECONDS_MAX)
            yield front, brain
        finally:
            front.kill()
