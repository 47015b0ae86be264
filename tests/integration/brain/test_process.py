"""The brain as a process: starts, says so, stops cleanly, refuses what it cannot work with."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.support.wait import free_port, until

ROOT = Path(__file__).parents[3]
START_SECONDS_MAX, STOP_SECONDS_MAX = 180, 60  # of a machine that is busy with other tests


def _environment(database_url: str, port: int, **changed: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "JWT_SECRET_KEY": secrets.token_urlsafe(64),
        "MASTER_KEY": secrets.token_hex(32),
        "GATEWAY_TOKEN": secrets.token_hex(32),
        "INSTALLATION_ID": "tests",
        "BRAIN_PORT": str(port),
        **changed,
    }


@asynccontextmanager
async def _started(
    module: str, environment: dict[str, str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _ready(client: httpx.AsyncClient) -> bool:
    with suppress(httpx.TransportError):
        return (await client.get("/health/ready")).status_code == 200
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_and_stops_with_0_on_a_signal(
    database_url: str, number: signal.Signals
) -> None:
    port = free_port()
    environment = _environment(database_url, port)
    async with (
        _started("brain.app", environment) as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        await until(lambda: _ready(client), START_SECONDS_MAX)
        headers = {"authorization": f"Bearer {environment['GATEWAY_TOKEN']}"}
        async with client.stream("GET", "/internal/changes", headers=headers) as stream:
            assert "snapshot" in await anext(stream.aiter_lines())
            process.send_signal(number)
            _, log = await asyncio.wait_for(process.communicate(), STOP_SECONDS_MAX)
    assert process.returncode == 0
    events = [json.loads(line)["event"] for line in log.decode().splitlines()]
    assert "brain_stopped" in events


async def test_unsafe_settings_do_not_start_and_say_why(database_url: str) -> None:
    environment = _environment(database_url, 1, JWT_SECRET_KEY="short", DEBUG="1")
    environment["ENVIRONMENT"] = "production"
    async with _started("brain.app", environment) as process:
        _, log = await asyncio.wait_for(process.communicate(), START_SECONDS_MAX)
    assert process.returncode == 2
    assert "JWT_SECRET_KEY must be at least 64 bytes" in log.decode()


async def test_a_busy_port_is_a_clear_failure(database_url: str) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with _started("brain.app", _environment(database_url, port)) as process:
        _, log = await asyncio.wait_for(process.communicate(), START_SECONDS_MAX)
    server.close()
    assert process.returncode not in {0, None}
    assert "address already in use" in log.decode()


async def test_migrating_says_what_is_wrong(empty_database_url: str) -> None:
    for url, code in (
        (empty_database_url, 0),
        ("postgresql://127.0.0.1:1/none", 4),
        ("", 2),
    ):
        async with _started("brain.migrate", _environment(url, 1)) as process:
            _, log = await asyncio.wait_for(process.communicate(), START_SECONDS_MAX)
        assert process.returncode == code, log
        assert len(log.decode().splitlines()) == (code != 0)
