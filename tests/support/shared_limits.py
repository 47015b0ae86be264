"""A key's limits at the several gateway processes of a whole installation."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from bench.outages import Caller
from bench.truth_mix import chat
from bench.truth_place import Place
from tests.support.wait import until

SECONDS_MAX = 120
LONG_TOKENS = 3000  # a stream that does not end while a test looks


@dataclass
class Limited:
    """A key that every process knows."""

    here: Place
    key: str
    open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def streams(self, number: int) -> list[int]:
        """So many long streams at once, over all processes: their statuses. Those that began
        stay open."""
        ports = self.here.ports
        return await asyncio.gather(*(self._begin(ports[n % len(ports)]) for n in range(number)))

    def close(self) -> None:
        for _, writer in self.open:
            writer.transport.abort()
        self.open.clear()

    async def running(self) -> bool:
        """Whether none of them has come to its end yet."""
        came = [await reader.read(1 << 20) for reader, _ in self.open]
        return not any(part.endswith(b"0\r\n\r\n") for part in came)

    async def tokens_in(self, requests: int, max_tokens: int) -> tuple[int, float]:
        """How many tokens so many requests were given, and in how many seconds."""
        began = time.monotonic()
        pool = httpx.Limits(max_connections=30)
        async with httpx.AsyncClient(timeout=SECONDS_MAX, limits=pool) as client:
            asked = [self._ask(client, n, max_tokens) for n in range(requests)]
            given = sum(await asyncio.gather(*asked))
        return given, time.monotonic() - began

    async def _begin(self, port: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        model = self.here.product.ready["model"]
        writer.write(chat(self.key, model, LONG_TOKENS, stream=True))
        async with asyncio.timeout(SECONDS_MAX):
            head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status == 200:
            self.open.append((reader, writer))
        else:
            writer.transport.abort()
        return status

    async def _ask(self, client: httpx.AsyncClient, number: int, max_tokens: int) -> int:
        ports = self.here.ports
        body = {
            "model": self.here.product.ready["model"],
            "messages": [{"role": "user", "content": "Which node?"}],
            "max_tokens": max_tokens,
        }
        told = await client.post(
            f"http://127.0.0.1:{ports[number % len(ports)]}/v1/chat/completions",
            content=json.dumps(body),
            headers={"authorization": f"Bearer {self.key}"},
        )
        return int(told.json()["usage"]["total_tokens"]) if told.status_code == 200 else 0


@asynccontextmanager
async def limited(here: Place, **limits: int) -> AsyncIterator[Limited]:
    """A new key with these limits, for as long as the block lasts."""
    with here.demo() as brain:
        made = brain.post("/api/v1/keys", {"name": "limited", "scopes": ["inference"], **limits})
    callers = [Caller(here.ports[n % len(here.ports)]) for n in range(12)]

    async def is_known() -> bool:
        return 401 not in [await one.ask(chat(made["key"], "nothing", 1)) for one in callers]

    await until(is_known, SECONDS_MAX)
    for one in callers:
        one.close()
    found = Limited(here, made["key"])
    try:
        yield found
    finally:
        found.close()
        with here.demo() as brain:
            brain.delete(f"/api/v1/keys/{made['key_id']}")
