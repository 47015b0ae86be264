"""Keyed requests through gateways that are killed: whatever dies when, none is charged twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from brain.plumbing import Ctx
from tests.support.brain import GATEWAY_TOKEN
from tests.support.gateway import KEY, Gateway, launch, snapshot
from tests.support.real_brain import real_brain
from tests.support.scripted_worker import ScriptedWorker, answer, scripted_worker
from tests.support.wait import stretch, until

PLAIN = b'{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}'
SEED = int(os.environ.get("GANGLION_TEST_SEED", "1"))
KEYS, KILLS = 20, 4
FREE = ("failed",)  # ends of tries that are not on the bill


@dataclass
class House:
    """Two gateways with spools of their own, killed and started again."""

    brain_url: str
    folder: Path
    gateways: list[Gateway] = field(default_factory=list)

    async def start(self, number: int) -> Gateway:
        place = self.folder / str(number)
        return await asyncio.to_thread(
            launch,
            place,
            brain_url=self.brain_url,
            gateway_token=GATEWAY_TOKEN,
            gateway_name=f"gateway{number}",
            gateway_ship_seconds=0.1,
            gateway_replay_wait_seconds=1,
        )

    async def kill(self, number: int) -> None:
        self.gateways[number].kill()
        self.gateways[number] = await self.start(number)


async def one(
    house: House, key: str, chance: random.Random, client: httpx.AsyncClient
) -> tuple[str, str]:
    """Send it until it has an end, as a client would: its code, and the request that answered."""
    body = json.dumps({"model": "m", "user": key}).encode()
    headers = {"authorization": f"Bearer {KEY}", "idempotency-key": key}
    await stretch(chance.random() * 3)
    while True:
        await stretch(0.1 + chance.random() * 0.3)
        url = f"{chance.choice(house.gateways).url}/v1/chat/completions"
        try:
            patience = chance.choice([0.3, 5])
            told = await client.post(url, content=body, headers=headers, timeout=patience)
        except httpx.HTTPError:
            continue
        if told.status_code == 200:
            return "ok", told.headers["x-request-id"]
        code = told.json()["error"]["code"]
        if code == "idempotency_answer_not_kept":
            return code, ""


def began(worker: ScriptedWorker) -> dict[str, set[str]]:
    """Ids of the requests that reached the worker, by key."""
    found: dict[str, set[str]] = defaultdict(set)
    for asked in worker.requests:
        head, _, body = asked.partition(b"\r\n\r\n")
        lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        found[json.loads(body)["user"]].add(lines["x-request-id"])
    return found


async def charged(ctx: Ctx) -> set[str]:
    """Requests of which a try is on the bill. Nobody knows the leases here, so all are parked."""
    async with ctx.db.begin() as tx:
        rows = await tx.execute(text("SELECT payload FROM parked_segment"))
        paid = [row.payload for row in rows]
    return {one["request_id"] for one in paid if one.get("end", "open") not in FREE}


@pytest.mark.feature("A13", "G5")
@pytest.mark.slow
async def test_killed_in_the_middle_none_is_charged_twice(
    ctx: Ctx, database_url: str, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    script = lambda _: [chance.random(), answer(PLAIN)]  # noqa: E731
    async with scripted_worker(script) as worker:
        tables = snapshot(worker.port)
        async with real_brain(ctx, database_url, tables) as url:
            house = House(url, tmp_path)
            house.gateways = [await house.start(0), await house.start(1)]
            client = httpx.AsyncClient(verify=False)
            work = [asyncio.create_task(one(house, f"k{n}", chance, client)) for n in range(KEYS)]
            for _ in range(KILLS):
                await stretch(chance.random() * 0.6)
                await house.kill(chance.randrange(2))
            async with asyncio.timeout(180):
                ends = await asyncio.gather(*work)
            await client.aclose()
            reached = began(worker)
            answered = {request for _, request in ends if request}
            await until(lambda: _subset(ctx, answered), 60)
            paid = await charged(ctx)
            for gateway in house.gateways:
                gateway.kill()
    assert set(reached) == {f"k{n}" for n in range(KEYS)}
    twice = {key: ids & paid for key, ids in reached.items() if len(ids & paid) > 1}
    assert not twice, f"seed {SEED}: {twice}"
    assert sum(code == "ok" for code, _ in ends) >= KEYS // 4, f"seed {SEED}: {ends}"


async def _subset(ctx: Ctx, answered: set[str]) -> bool:
    return answered <= await charged(ctx)
