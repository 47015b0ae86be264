"""R7: what a node says of its health counts for that node, boot and key alone.

A machine that took over a dead one's address, or a part of what it recorded, makes nothing
healthy: the session is bound to node, agent start and host boot, and every call to the session.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from brain import fleet
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.wire import encode
from kernel.wire.agent import SESSION_HEADER
from tests.support.fleet import Agent, Rig, brain_front

pytestmark = pytest.mark.feature("C6")


@pytest.fixture
async def rig(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Rig]:
    async with brain_front(ctx, clock, valkey_url) as made:
        yield made


async def dead(rig: Rig) -> tuple[Agent, Agent, fleet.LeaseView]:
    """A node that is lost with work on it, another that lives, and the lease."""
    lost, alive = await rig.agent(), await rig.agent()
    lease = await rig.running(lost)
    await rig.pass_time(30, alive)
    assert (await rig.reconcile()).silent == (str(lost.node_id),)
    await rig.pass_time(5, alive)  # what is heard from here on is after the silence
    return lost, alive, lease


async def still_lost(rig: Rig, alive: Agent, lease: fleet.LeaseView) -> None:
    await rig.pass_time(5, alive)
    assert (await rig.reconcile()).heard == ()
    assert (await rig.lease(lease.lease_id)).silent


async def test_another_nodes_answer_keeps_nobody_alive(rig: Rig) -> None:
    lost, alive, lease = await dead(rig)
    message = alive.message(lost.seen(lease))
    for changes in ({"node_id": str(lost.node_id)}, {"host_boot_id": "boot-2"}):
        told = msgspec.structs.replace(message, **changes)
        answer = await alive.send("/agent/v1/beat", encode(told))
        assert (answer.status_code, answer.json()["code"]) == (403, "node_mismatch")
    await alive.beat(lost.seen(lease))  # it may say what it likes of another's lease
    await still_lost(rig, alive, lease)


async def test_the_lost_nodes_session_id_without_its_key_is_worth_nothing(rig: Rig) -> None:
    lost, alive, lease = await dead(rig)
    assert lost.session is not None
    body = encode(lost.message(lost.seen(lease)))
    headers = alive.signed("POST", "/agent/v1/beat", body)
    headers[SESSION_HEADER] = lost.session.session_id
    answer = await rig.http.post("/agent/v1/beat", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_mac")
    await still_lost(rig, alive, lease)


async def test_a_recorded_beat_makes_nobody_healthy_again(rig: Rig) -> None:
    lost, alive = await rig.agent(), await rig.agent()
    lease = await rig.running(lost)
    body = encode(lost.message(lost.seen(lease)))
    headers = lost.signed("POST", "/agent/v1/beat", body)
    first = await rig.http.post("/agent/v1/beat", content=body, headers=headers)
    assert first.status_code == 200
    await rig.pass_time(30, alive)
    await rig.reconcile()
    await rig.pass_time(5, alive)
    again = await rig.http.post("/agent/v1/beat", content=body, headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "replayed")
    await still_lost(rig, alive, lease)


async def test_another_key_opens_no_session_for_the_lost_node(rig: Rig) -> None:
    lost, alive, lease = await dead(rig)
    thief = Agent(rig, Ed25519PrivateKey.generate(), lost.gpus, start_id="thief-1")
    thief.node_id = lost.node_id
    answer = await thief.send_session(thief.session_request())
    assert (answer.status_code, answer.json()["code"]) == (401, "node_unknown")
    await still_lost(rig, alive, lease)


async def test_the_node_itself_is_heard_again(rig: Rig) -> None:
    lost, _, lease = await dead(rig)
    await lost.beat(lost.seen(lease))
    await rig.front.flush()
    assert (await rig.reconcile()).heard == (str(lost.node_id),)
    assert not (await rig.lease(lease.lease_id)).silent
