"""A node's key: replaced by itself, ended by its agent or its provider; what it opened ends too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import select

from brain.fleet import Outcome
from brain.marketplace.models import NodeKey
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.wire import encode
from kernel.wire.agent import BeatAnswer
from kernel.wire.keys import LeaveRequest, RotateRequest, rotate_input
from tests.support.fleet import Agent, Rig, brain_front

pytestmark = pytest.mark.feature("C2")


@pytest.fixture
async def rig(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Rig]:
    async with brain_front(ctx, clock, valkey_url) as rig:
        yield rig


def public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def rotation(agent: Agent, new: Ed25519PrivateKey, **changes: Any) -> RotateRequest:
    text = rotate_input(str(agent.node_id), public(new))
    signer = changes.pop("signer", agent.key)
    request = RotateRequest(
        node_id=str(agent.node_id),
        public_key=public(new),
        signature=signer.sign(text).hex(),
        proof=new.sign(text).hex(),
    )
    return msgspec.structs.replace(request, **changes)


async def rotate(rig: Rig, request: RotateRequest) -> httpx.Response:
    return await rig.http.post("/agent/v1/rotate", content=encode(request))


async def beat(agent: Agent) -> httpx.Response:
    return await agent.send("/agent/v1/beat", encode(agent.message()))


async def test_a_new_key_takes_over_and_the_old_ones_sessions_are_over(rig: Rig) -> None:
    agent, new = await rig.agent(), Ed25519PrivateKey.generate()
    answer = await rotate(rig, rotation(agent, new))
    assert (answer.status_code, answer.json()["public_key"]) == (200, public(new))
    refused = await beat(agent)
    assert (refused.status_code, refused.json()["code"]) == (409, "superseded")
    old = await agent.send_session(agent.session_request(agent_start_id="another"))
    assert (old.status_code, old.json()["code"]) == (401, "node_unknown")
    agent.key = new
    await agent.restart()
    assert isinstance(await agent.beat(), BeatAnswer)


async def test_a_lease_is_not_touched_by_a_new_key(rig: Rig) -> None:
    agent, new = await rig.agent(), Ed25519PrivateKey.generate()
    lease = await rig.running(agent)
    await rotate(rig, rotation(agent, new))
    agent.key = new
    await agent.restart()
    told = await agent.beat(agent.seen(lease))
    await rig.front.flush()
    assert str(lease.lease_id) in (await agent.beat(agent.seen(lease))).renewed or told.renewed
    assert not (await rig.lease(lease.lease_id)).closed


async def test_the_same_rotation_again_is_answered_the_same(rig: Rig) -> None:
    agent, new = await rig.agent(), Ed25519PrivateKey.generate()
    request = rotation(agent, new)
    assert (await rotate(rig, request)).json() == (await rotate(rig, request)).json()
    async with rig.ctx.db.begin() as tx:
        rows = await tx.scalars(select(NodeKey).where(NodeKey.node_id == agent.node_id))
        history = {row.public_key: row.replaced for row in rows}
    assert history == {agent.public_key: "", public(new): agent.public_key}


async def test_an_old_rotation_that_is_played_again_changes_nothing(rig: Rig) -> None:
    agent = await rig.agent()
    second, third = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    first_change = rotation(agent, second)
    assert (await rotate(rig, first_change)).status_code == 200
    assert (await rotate(rig, rotation(agent, third, signer=second))).status_code == 200
    assert (await rotate(rig, first_change)).status_code == 401
    back = rotation(agent, agent.key, signer=third)
    refused = await rotate(rig, back)
    assert (refused.status_code, refused.json()["code"]) == (409, "key_in_use")


@pytest.mark.parametrize(
    "changes",
    [
        {"signer": Ed25519PrivateKey.generate()},
        {"proof": "0" * 128},
        {"public_key": "f" * 64},
        {"node_id": "node_" + "0" * 32},
    ],
    ids=["not its key", "not the new key's holder", "another key", "another node"],
)
async def test_a_rotation_that_is_not_signed_by_both_keys_is_refused(
    rig: Rig, changes: dict[str, Any]
) -> None:
    agent = await rig.agent()
    answer = await rotate(rig, rotation(agent, Ed25519PrivateKey.generate(), **changes))
    assert (answer.status_code, answer.json()["code"]) == (401, "node_unknown")
    assert (await beat(agent)).status_code == 200


async def test_another_nodes_key_is_refused(rig: Rig) -> None:
    agent, other = await rig.agent(), await rig.agent()
    answer = await rotate(rig, rotation(agent, other.key))
    assert (answer.status_code, answer.json()["code"]) == (409, "key_in_use")
    assert (await beat(agent)).status_code == 200


async def test_a_revoked_nodes_session_and_leases_end_at_once(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    gone = await agent.send("/agent/v1/leave", encode(LeaveRequest("uninstalled")))
    assert (gone.status_code, gone.json()["leases_ending"]) == (200, 1)
    for answer in (await beat(agent), await agent.send_session(agent.session_request())):
        assert (answer.status_code, answer.json()["code"]) == (403, "node_revoked")
    rotated = await rotate(rig, rotation(agent, Ed25519PrivateKey.generate()))
    assert (rotated.status_code, rotated.json()["code"]) == (403, "node_revoked")
    ended = await rig.lease(lease.lease_id)
    assert (ended.closed, ended.outcome) == (True, Outcome.LOST)


async def test_leaving_needs_the_nodes_own_session(rig: Rig) -> None:
    agent = await rig.agent()
    answer = await rig.http.post("/agent/v1/leave", content=encode(LeaveRequest()))
    assert answer.status_code == 401
    assert (await beat(agent)).status_code == 200
