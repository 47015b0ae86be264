"""The gateway as a real process: ``gateway = start_gateway(tables(...))`` and its clients."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, OpenAI

from cli.embedded.child import die_with_parent
from inference.notes import Finished
from inference.spool import notes
from kernel.wire import encode
from kernel.wire.gateway import (
    AccountRow,
    DeploymentRow,
    KeyRow,
    LinkRow,
    ReplicaRow,
    Segment,
    SegmentEnd,
    Snapshot,
)
from tests.support import warm
from tests.support.shared import ROOT
from tests.support.warm import Forked

KEY = "gk_" + "k" * 43
OTHER_KEY = "gk_" + "o" * 43
OWNER = "acct_" + "0" * 31 + "2"
OTHER = "acct_" + "0" * 31 + "3"
PLATFORM = "acct_" + "0" * 31 + "1"
START_SECONDS_MAX = 60
ANSWER_SECONDS_MAX = 30
STOP_SECONDS_MAX = 20


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def numbered(prefix: str, number: int) -> str:
    return f"{prefix}_{number:032x}"


def key_row(secret: str = KEY, account: str = OWNER, **fields: object) -> KeyRow:
    number = int(digest(secret)[:8], 16)
    return KeyRow(numbered("key", number), digest(secret), account, **fields)  # type: ignore[arg-type]


def deployment_row(name: str = "m", number: int = 1, **fields: Any) -> DeploymentRow:
    values: dict[str, Any] = {"account_id": OWNER, "model": f"org/{name}", **fields}
    return DeploymentRow(deployment_id=numbered("dep", number), name=name, **values)


def replica_row(port: int, number: int = 1, deployment: int = 1, **fields: object) -> ReplicaRow:
    values: dict[str, object] = {"epoch": 1, "gpus": 1, **fields}
    return ReplicaRow(
        replica_id=numbered("rep", number),
        deployment_id=numbered("dep", deployment),
        lease_id=numbered("lease", number),
        link=LinkRow(port=port),
        **values,  # type: ignore[arg-type]
    )


def snapshot(*ports: int, upstream_model: str = "", **fields: Any) -> Snapshot:
    """One account with one key and one deployment ``m`` on workers at these ports."""
    replicas = [
        replica_row(port, number, upstream_model=upstream_model)
        for number, port in enumerate(ports, start=1)
    ]
    return Snapshot(
        keys=[key_row()],
        accounts=[AccountRow(OWNER, cache_salt="salt-of-owner")],
        deployments=[deployment_row(**fields)],
        replicas=replicas,
    )


@dataclass
class Gateway:
    """A running gateway."""

    url: str
    process: Forked | subprocess.Popen[bytes]
    spool: Path
    snapshot_file: Path | None
    log: Path

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def client(self, key: str = KEY, **options: object) -> OpenAI:
        values: dict[str, object] = {"max_retries": 0, "timeout": 20, **options}
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, **values)  # type: ignore[arg-type]

    def async_client(self, key: str = KEY, **options: object) -> AsyncOpenAI:
        values: dict[str, object] = {"max_retries": 0, "timeout": 20, **options}
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, **values)  # type: ignore[arg-type]

    def post(
        self, body: object, path: str = "/v1/chat/completions", key: str = KEY
    ) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        return httpx.post(f"{self.url}{path}", content=content, headers=headers, timeout=20)

    def segments(self) -> list[Segment]:
        """The last pieces of requests in its spool, read from outside."""
        return [one for one in spooled(self.spool) if one.end is not SegmentEnd.OPEN]

    def change(self, tables: Snapshot) -> None:
        """Write another snapshot and have it read."""
        assert self.snapshot_file is not None
        self.snapshot_file.write_bytes(encode(tables))
        self.process.send_signal(signal.SIGHUP)

    def metric(self, name: str) -> float:
        page = httpx.get(f"{self.url}/metrics", timeout=ANSWER_SECONDS_MAX).text
        found = [line for line in page.splitlines() if line.startswith(name)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(STOP_SECONDS_MAX)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def spooled(folder: Path) -> list[Segment]:
    """All finished pieces in a spool folder, of every boot."""
    found = []
    for path in sorted(folder.glob("*/*.spool")):
        for note in notes(path.read_bytes(), path.parent.name):
            if isinstance(note, Finished):
                found.append(note.segment)
    return found


StartGateway = Callable[..., Gateway]


def launch(
    folder: Path,
    tables: Snapshot | None = None,
    *,
    port: int = 0,
    cold: bool = False,
    **settings: Any,
) -> Gateway:
    """Start one and wait until it listens. Settings are environment names in small letters.

    ``cold``: by its command line, for who measures its memory or its start.
    """
    folder.mkdir(exist_ok=True, parents=True)
    spool = Path(str(settings.pop("gateway_spool_dir", folder / "spool")))
    environment = {
        "PATH": os.environ["PATH"],
        "GATEWAY_SPOOL_DIR": str(spool),
        "GATEWAY_SPOOL_FILE_BYTES": "65536",
        **{name.upper(): str(value) for name, value in settings.items()},
    }
    arguments = ["--port", str(port)]
    snapshot_file = None
    if tables is not None:
        snapshot_file = folder / "snapshot.json"
        snapshot_file.write_bytes(encode(tables))
        arguments += ["--snapshot", str(snapshot_file)]
    log = folder / "log"
    with log.open("w") as output:
        process = _started(arguments, environment, output.fileno(), cold=cold)
    deadline = time.monotonic() + START_SECONDS_MAX
    while (line := listening(log)) is None:
        assert process.poll() is None, f"the gateway did not start: {log.read_text()}"
        assert time.monotonic() < deadline, f"the gateway does not listen: {log.read_text()}"
        time.sleep(0.01)
    url = f"http://127.0.0.1:{json.loads(line)['port']}"
    return Gateway(url, process, spool, snapshot_file, log)


def listening(log: Path) -> str | None:
    """The line that says where, once it is whole."""
    lines = log.read_text().splitlines(keepends=True)
    return next((x for x in lines if '"listening"' in x and x.endswith("\n")), None)


def _started(
    arguments: list[str], environment: dict[str, str], output: int, *, cold: bool
) -> Forked | subprocess.Popen[bytes]:
    crew = "GATEWAY_PROCESSES" in environment
    if not (cold or crew or "PYTHONPATH" in environment):
        return warm.start("gateway", arguments, environment=environment, output=output)
    return subprocess.Popen(
        [sys.executable, "-m", "inference.crew" if crew else "inference.app", *arguments],
        cwd=ROOT,
        env=environment,
        stderr=output,
        preexec_fn=die_with_parent(),
    )


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """Starts gateways that end with the test: ``start_gateway(snapshot(port), NAME=value)``."""
    started: list[Gateway] = []

    def start(tables: Snapshot | None = None, **settings: Any) -> Gateway:
        started.append(launch(tmp_path / f"gateway{len(started)}", tables, **settings))
        return started[-1]

    yield start
    for gateway in started:
        gateway.kill()
