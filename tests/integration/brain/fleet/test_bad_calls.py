"""Calls of agents that must be refused: each with a clear problem, and nothing changed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.wire import encode
from kernel.wire.agent import (
    RESTARTS_MAX,
    LogBatch,
    LogLine,
    SessionAnswer,
    session_input,
)
from tests.support.fleet import Agent, Rig, brain_front

BEAT = "/agent/v1/beat"


@pytest.fixture
async def rig(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Rig]:
    async with brain_front(ctx, clock, valkey_url) as made:
        yield made


@pytest.fixture
async def agent(rig: Rig) -> Agent:
    return await rig.agent()


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_an_unsigned_beat_is_refused(agent: Agent) -> None:
    answer = await agent.rig.http.post(BEAT, content=encode(agent.message()))
    assert_problem(answer, 401, "unsigned")


@pytest.mark.feature("C2")
async def test_a_beat_with_a_changed_body_is_refused(agent: Agent) -> None:
    body = encode(agent.message())
    headers = agent.signed("POST", BEAT, body)
    answer = await agent.rig.http.post(BEAT, content=body + b" ", headers=headers)
    assert_problem(answer, 401, "bad_mac")


async def test_a_mac_of_another_path_is_refused(agent: Agent) -> None:
    body = encode(agent.message())
    headers = agent.signed("POST", "/agent/v1/logs", body)
    assert_problem(await agent.rig.http.post(BEAT, content=body, headers=headers), 401, "bad_mac")


@pytest.mark.feature("C2")
async def test_a_replayed_beat_is_refused(agent: Agent) -> None:
    body = encode(agent.message())
    headers = agent.signed("POST", BEAT, body)
    assert (await agent.rig.http.post(BEAT, content=body, headers=headers)).status_code == 200
    again = await agent.rig.http.post(BEAT, content=body, headers=headers)
    assert_problem(again, 409, "replayed")


async def test_a_beat_that_a_newer_one_overtook_is_refused(agent: Agent) -> None:
    body = encode(agent.message())
    newer, older = agent.number + 2, agent.number + 1
    assert (await agent.send(BEAT, body, number=newer)).status_code == 200
    assert_problem(await agent.send(BEAT, body, number=older), 409, "replayed")


async def test_a_replay_is_refused_by_a_brain_that_just_started(
    agent: Agent, ctx: Ctx, clock: ManualClock, valkey_url: str
) -> None:
    body = encode(agent.message())
    headers = agent.signed("POST", BEAT, body)
    await agent.rig.http.post(BEAT, content=body, headers=headers)
    await agent.rig.front.flush()
    async with brain_front(ctx, clock, valkey_url) as restarted:
        answer = await restarted.http.post(BEAT, content=body, headers=headers)
    assert_problem(answer, 409, "replayed")


async def test_a_beat_cannot_speak_for_another_node(rig: Rig, agent: Agent) -> None:
    other = await rig.agent()
    body = encode(other.message())
    assert_problem(await agent.send(BEAT, body), 403, "node_mismatch")


@pytest.mark.parametrize("session_id", ["x", "AAAA", "é" * 20, "W10", "9" * 2000])
async def test_a_made_up_session_is_refused(agent: Agent, session_id: str) -> None:
    headers = agent.signed("POST", BEAT, b"")
    headers["X-Ganglion-Session"] = session_id
    raw = {key.encode(): value.encode() for key, value in headers.items()}
    answer = await agent.rig.http.post(BEAT, content=b"", headers=raw)
    assert answer.status_code == 401, answer.text


async def test_a_session_with_another_node_written_in_has_no_key(rig: Rig, agent: Agent) -> None:
    other = await rig.agent()
    assert agent.session is not None
    assert other.session is not None
    agent.session = SessionAnswer(other.session.session_id, agent.session.session_key, 3600, "t")
    assert_problem(await agent.send(BEAT, encode(other.message())), 401, "bad_mac")


async def test_an_expired_session_is_refused(agent: Agent, clock: ManualClock) -> None:
    clock.advance(3600)
    assert_problem(await agent.send(BEAT, encode(agent.message())), 401, "session_expired")


async def test_a_body_over_the_limit_is_refused(agent: Agent) -> None:
    assert_problem(await agent.send(BEAT, b" " * 300_000), 413, "too_large")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("agent_version", 1),
        ("generation", "7"),
        ("generation", -1),
        ("nvml", "fine"),
        ("gpus", {}),
        ("leases", [{"lease_id": "x"}]),
        ("host", None),
        ("v", 2),
    ],
)
async def test_a_beat_of_another_shape_is_refused(agent: Agent, field: str, value: object) -> None:
    message = json.loads(encode(agent.message()))
    message[field] = value
    answer = await agent.send(BEAT, json.dumps(message).encode())
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"null", b"[]", b'"\\ud800"'])
async def test_bytes_that_are_no_beat_are_refused(agent: Agent, body: bytes) -> None:
    assert_problem(await agent.send(BEAT, body), 400, "malformed")


@pytest.mark.parametrize("number", ["", "0", "-1", "1.5", "x", "9" * 30, "²"])
async def test_a_sequence_number_that_is_none_is_refused(agent: Agent, number: str) -> None:
    headers = agent.signed("POST", BEAT, b"")
    headers["X-Ganglion-Seq"] = number
    raw = {key.encode(): value.encode() for key, value in headers.items()}
    answer = await agent.rig.http.post(BEAT, content=b"", headers=raw)
    assert_problem(answer, 400, "malformed")


@pytest.mark.parametrize("generation", ["", "-1", "x", "9" * 40])
async def test_a_wake_without_a_generation_is_refused(agent: Agent, generation: str) -> None:
    path = f"/agent/v1/wake?generation={generation}"
    headers = agent.signed("GET", path, b"")
    assert_problem(await agent.rig.http.get(path, headers=headers), 422, "bad_input")


@pytest.mark.feature("C2")
async def test_a_session_request_opens_one_session_only(agent: Agent) -> None:
    request = agent.session_request()
    assert (await agent.send_session(request)).status_code == 200
    assert_problem(await agent.send_session(request), 409, "replayed")


async def test_an_agent_that_was_replaced_cannot_come_back(agent: Agent) -> None:
    before = agent.start_id
    await agent.restart()
    request = agent.session_request(agent_start_id=before, signature="")
    request.signature = agent.key.sign(session_input(request)).hex()
    assert_problem(await agent.send_session(request), 409, "superseded")


async def test_a_session_needs_the_key_of_the_node(rig: Rig, agent: Agent) -> None:
    other = await rig.agent()
    request = agent.session_request()
    request.signature = other.key.sign(session_input(request)).hex()
    assert_problem(await agent.send_session(request), 401, "node_unknown")


async def test_an_unknown_node_is_told_no_more_than_a_wrong_key(rig: Rig, agent: Agent) -> None:
    unknown = await agent.send_session(agent.session_request(node_id="node_" + "0" * 32))
    wrong = await agent.send_session(agent.session_request(signature="0" * 128))
    assert {**unknown.json()} == {**wrong.json()}
    assert unknown.status_code == 401


async def test_logs_of_another_nodes_lease_are_refused(rig: Rig, agent: Agent) -> None:
    lease = await rig.claim(await rig.agent())
    batch = LogBatch(str(lease.lease_id), 0, [LogLine(1, "stdout", "hello")])
    answer = await agent.send("/agent/v1/logs", msgspec.json.encode(batch))
    assert_problem(answer, 404, "not_found")


@pytest.mark.parametrize(("restarts", "status"), [(RESTARTS_MAX, 200), (RESTARTS_MAX + 1, 400)])
async def test_no_more_restarts_than_are_kept_are_taken(
    agent: Agent, restarts: int, status: int
) -> None:
    lease = await agent.rig.claim(agent)
    seen = msgspec.structs.replace(agent.seen(lease), restarts=restarts)
    answer = await agent.send(BEAT, encode(agent.message(seen)))
    assert answer.status_code == status, answer.text
