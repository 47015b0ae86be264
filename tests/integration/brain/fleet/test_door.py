"""The door takes right beats by itself; what is not right is met as on any other path."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.exc import OperationalError

from brain.fleet.calls import BEAT_BYTES_MAX
from brain.fleet.door import BEAT_PATH
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.wire import encode
from tests.support.fleet import Agent, Rig, brain_front


@pytest.fixture
async def rig(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Rig]:
    async with brain_front(ctx, clock, valkey_url) as made:
        yield made


@pytest.fixture
async def agent(rig: Rig) -> Agent:
    return await rig.agent()


async def test_a_right_beat_ends_at_the_door(rig: Rig, agent: Agent) -> None:
    before = len(rig.answered)
    answer = await agent.send(BEAT_PATH, encode(agent.message()))
    assert (answer.status_code, len(rig.answered)) == (200, before + 1)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["generation"] == agent.generation


async def test_a_beat_in_pieces_is_taken(rig: Rig, agent: Agent) -> None:
    body, before = encode(agent.message()), len(rig.answered)

    async def pieces() -> AsyncIterator[bytes]:
        yield body[:100]
        yield body[100:]

    headers = agent.signed("POST", BEAT_PATH, body)
    answer = await rig.http.post(BEAT_PATH, content=pieces(), headers=headers)
    assert (answer.status_code, len(rig.answered)) == (200, before + 1)


@pytest.mark.feature("C3")
async def test_an_agent_of_a_later_version_is_heard(rig: Rig, agent: Agent) -> None:
    """Its beat has fields that this brain does not know, at each depth; all it knows counts."""
    lease = await rig.claim(agent)
    message = json.loads(encode(agent.message(agent.seen(lease))))
    for part in (message, message["host"], message["leases"][0]):
        part["of_the_future"] = {"deep": [1]}
    message["gpus"][0].append("one more place")
    before = len(rig.answered)
    answer = await agent.send(BEAT_PATH, json.dumps(message).encode())
    assert (answer.status_code, len(rig.answered)) == (200, before + 1), answer.text
    assert answer.json()["renewed"] == [str(lease.lease_id)]
    await rig.front.flush()
    assert (await rig.lease(lease.lease_id)).seen_state == "ready"
    kept = await rig.front.telemetry.last([agent.node_id])
    assert kept[agent.node_id].beat.gpus == agent.gpus


async def test_a_refused_beat_is_a_problem_and_counts_as_none(rig: Rig, agent: Agent) -> None:
    before = len(rig.answered)
    answer = await agent.send(BEAT_PATH, encode(agent.message()), number=1)
    assert answer.status_code == 409
    assert answer.json()["code"] == "replayed"
    large = b" " * (BEAT_BYTES_MAX + 1)
    assert (await agent.send(BEAT_PATH, large)).status_code == 413
    other = await rig.http.get(BEAT_PATH)
    assert (other.status_code, len(rig.answered)) == (405, before)


async def test_a_database_that_is_away_is_said_once(
    rig: Rig, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The beat is not tried a second time by the route: its number is used."""
    calls = []

    async def away(*_: object) -> None:
        calls.append(1)
        raise OperationalError("SELECT", {}, Exception("gone"))

    await rig.claim(agent)
    monkeypatch.setattr(rig.front._loads, "_load", away)
    answer = await agent.send(BEAT_PATH, encode(agent.message()))
    assert (answer.status_code, calls) == (503, [1])
