"""A replica that drains, is dropped or has a successor gets no more requests once the brain said
so."""

from __future__ import annotations

import json
import time

import httpx
import pytest

from kernel.wire.gateway import ChangeLine, ReplicaState
from tests.support.brain_double import brain_double
from tests.support.gateway import KEY, Gateway, StartGateway, numbered, replica_row, snapshot
from tests.support.scripted_worker import Script, answer, scripted_worker
from tests.support.wait import until

PLAIN = b'{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}'
PROMPTS = 32
SECONDS = 3.0  # from the brain's word; ``make bench ONLY=outages`` tells how soon it is heard


def change(how: str, port: int, next_port: int) -> ChangeLine:
    match how:
        case "drains":
            return ChangeLine(replica=replica_row(port, state=ReplicaState.DRAINING))
        case "is dropped":
            return ChangeLine(drop_replica=numbered("rep", 1))
        case _:
            return ChangeLine(replica=replica_row(next_port, epoch=2))


async def ask_all(gateway: Gateway) -> bool:
    """Prompts enough that each replica is some one's first choice."""
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(headers=headers, timeout=30) as client:
        for number in range(PROMPTS):
            body = {"model": "m", "messages": [{"role": "user", "content": f"{number}"}]}
            told = await client.post(f"{gateway.url}/v1/chat/completions", content=json.dumps(body))
            assert told.status_code == 200
    return True


@pytest.mark.feature("A12")
@pytest.mark.parametrize("how", ["drains", "is dropped", "has a successor"])
async def test_it_is_asked_nothing_more(start_gateway: StartGateway, how: str) -> None:
    last = 0.0

    def noted(_: int) -> Script:
        nonlocal last
        last = time.monotonic()
        return [answer(PLAIN)]

    async with (
        scripted_worker(noted) as leaving,
        scripted_worker([answer(PLAIN)]) as other,
        scripted_worker([answer(PLAIN)]) as successor,
        brain_double(snapshot(leaving.port, other.port)) as brain,
    ):
        gateway = start_gateway(**brain.settings())
        await until(lambda: ask_all(gateway))
        assert leaving.requests
        assert other.requests
        began = time.monotonic()
        brain.tell(change(how, leaving.port, successor.port))

        async def left_alone() -> bool:
            before = len(leaving.requests)
            return await ask_all(gateway) and len(leaving.requests) == before

        await until(left_alone)
        assert last - began < SECONDS
        asked = len(leaving.requests)
        if how == "has a successor":  # and what is told late of the old one changes nothing
            brain.tell(ChangeLine(replica=replica_row(leaving.port)))
            assert successor.requests
        for _ in range(4):
            await ask_all(gateway)
        assert len(leaving.requests) == asked


async def test_after_a_rolling_update_the_list_of_models_is_the_new_workers(
    start_gateway: StartGateway,
) -> None:
    async with (
        scripted_worker([answer(card(4096))]) as old,
        scripted_worker([answer(card(8192))]) as new,
        brain_double(snapshot(old.port)) as brain,
    ):
        gateway = start_gateway(**brain.settings())
        await until(lambda: length_listed(gateway))
        for _ in range(2):
            assert await length_listed(gateway) == 4096
        assert len(old.requests) == 1
        brain.tell(ChangeLine(replica=replica_row(new.port, 2)))
        brain.tell(ChangeLine(replica=replica_row(old.port, state=ReplicaState.DRAINING)))

        async def renewed() -> bool:
            return await length_listed(gateway) == 8192

        await until(renewed)
        brain.tell(ChangeLine(drop_replica=numbered("rep", 1)))
        brain.tell(ChangeLine(drop_replica=numbered("rep", 2)))
        assert await length_listed(gateway) == 8192  # one that sleeps is what it was


def card(length: int) -> bytes:
    return json.dumps({"data": [{"id": "org/m", "max_model_len": length}]}).encode()


async def length_listed(gateway: Gateway) -> int:
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as client:
        told = await client.get(f"{gateway.url}/v1/models")
    assert told.status_code == 200
    (listed,) = told.json()["data"]
    return int(listed.get("max_model_len", 0))  # a worker that does not say in time
