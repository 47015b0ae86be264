"""A real brain with a key that has limits, and real gateway processes beside it."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.support.brain import signed_up
from tests.support.gateway import Gateway, launch
from tests.support.shared import ROOT
from tests.support.wait import free_port, until

PATH = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": "none", "messages": []}  # let through it is a 404, else a 429
ADMITTED = 404
START_SECONDS_MAX = 120


@dataclass
class LimitHouse:
    """``key`` has the limits that were asked for; ``gateways`` know it."""

    brain: asyncio.subprocess.Process
    client: httpx.AsyncClient
    key: str
    gateways: list[Gateway] = field(default_factory=list)

    async def send(self, number: int, gateway: int = 0, key: str = "") -> Counter[int]:
        """So many requests at once to one gateway: how many answers of which status."""
        headers = {"authorization": f"Bearer {key or self.key}"}
        url = self.gateways[gateway].url + PATH
        sent = [self.client.post(url, json=BODY, headers=headers) for _ in range(number)]
        return Counter(answer.status_code for answer in await asyncio.gather(*sent))

    async def send_to_all(self, number: int) -> Counter[int]:
        """The same to every gateway, all at once."""
        sent = [self.send(number, gateway) for gateway in range(len(self.gateways))]
        return sum(await asyncio.gather(*sent), Counter())

    def freeze_brain(self) -> None:
        self.brain.send_signal(signal.SIGSTOP)

    def thaw_brain(self) -> None:
        self.brain.send_signal(signal.SIGCONT)


@asynccontextmanager
async def limit_house(
    database_url: str, valkey_url: str, folder: Path, *, gateways: int = 3, **limits: int
) -> AsyncIterator[LimitHouse]:
    """Everything up and ready; ``limits`` are those of the key, as its route names them."""
    port, token = free_port(), secrets.token_hex(32)
    environment = _environment(database_url, valkey_url, port, token)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "brain.app"),
        cwd=ROOT,
        env=environment,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    started: list[Gateway] = []
    pool = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=pool) as client:
        try:
            await until(_answers(client, "/health/live"), START_SECONDS_MAX)
            who = await signed_up(client)
            body = {"name": "limited", "scopes": ["inference"], **limits}
            made = await client.post("/api/v1/keys", json=body, headers=who.headers)
            assert made.status_code == 201, made.text
            house = LimitHouse(process, client, made.json()["key"], started)
            known = partial(launch, brain_url=url, gateway_token=token)
            for number in range(gateways):
                started.append(await asyncio.to_thread(known, folder / f"g{number}"))
            for gateway in started:
                await until(_answers(client, f"{gateway.url}/health/ready"), START_SECONDS_MAX)
            yield house
        finally:
            for gateway in started:
                gateway.kill()
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _answers(client: httpx.AsyncClient, url: str) -> Callable[[], Any]:
    async def ready() -> bool:
        with suppress(httpx.TransportError):
            return (await client.get(url)).status_code == 200
        return False

    return ready


def _environment(database_url: str, valkey_url: str, port: int, token: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "REDIS_URL": valkey_url,
        "JWT_SECRET_KEY": secrets.token_urlsafe(64),
        "MASTER_KEY": secrets.token_hex(32),
        "GATEWAY_TOKEN": token,
        "INSTALLATION_ID": "tests",
        "BRAIN_PORT": str(port),
        "MINIMUM_CREDITS_FOR_API_KEY": "0",
    }
