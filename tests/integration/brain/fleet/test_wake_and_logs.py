"""The long poll that wakes an agent, the lines its workers wrote, and what people see of nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from brain import fleet
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.wire import encode
from kernel.wire.agent import LogBatch, LogLine
from tests.support.fleet import Agent, Rig, brain_front
from tests.support.wait import until

LOGS = "/agent/v1/logs"
SOON_SECONDS = 12  # less than a wake lasts that nothing ends


@pytest.fixture
async def rig(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Rig]:
    async with brain_front(ctx, clock, valkey_url) as made:
        yield made


def batch(lease: fleet.LeaseView, first: int, count: int) -> bytes:
    lines = [LogLine(first + n, "stdout", f"line {first + n}") for n in range(count)]
    return encode(LogBatch(str(lease.lease_id), first, lines))


async def send(agent: Agent, body: bytes) -> int:
    return (await agent.send(LOGS, body)).status_code


async def test_a_wake_returns_when_the_generation_rises(rig: Rig) -> None:
    agent = await rig.agent()
    waiting = asyncio.create_task(agent.wake((await agent.beat()).generation))
    own = rig.front.desks[agent.node_id]
    await until(lambda: own.changed._waiters)
    assert not waiting.done()
    await rig.claim(agent)
    assert (await asyncio.wait_for(waiting, SOON_SECONDS)).status_code == 204


async def test_a_wake_for_an_old_generation_returns_at_once(rig: Rig) -> None:
    agent = await rig.agent()
    assert (await asyncio.wait_for(agent.wake(0), SOON_SECONDS)).status_code == 204


async def test_who_waits_is_sent_home_before_the_stop(rig: Rig) -> None:
    agent = await rig.agent()
    waiting = asyncio.create_task(agent.wake((await agent.beat()).generation))
    own = rig.front.desks[agent.node_id]
    await until(lambda: own.changed._waiters)
    rig.front.send_home()
    assert (await asyncio.wait_for(waiting, SOON_SECONDS)).status_code == 204


async def test_a_claim_by_another_process_is_seen_at_the_next_look(rig: Rig) -> None:
    agent = await rig.agent()
    before = rig.front.desks[agent.node_id].generation
    async with rig.ctx.db.begin() as tx:
        await tx.execute(text("SELECT 1"))  # an older transaction that is still open
        await rig.claim(agent)
    await rig.front.look()
    assert rig.front.desks[agent.node_id].generation == before + 1


@pytest.mark.feature("D5")
async def test_lines_are_kept_once_however_often_they_are_sent(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    sent = [batch(lease, 0, 3), batch(lease, 0, 3), batch(lease, 2, 3)]
    assert [await send(agent, body) for body in sent] == [204, 204, 204]
    lines = await fleet.lease_logs(rig.ctx, lease.lease_id, 100)
    assert [line.text for line in lines] == [f"line {n}" for n in range(5)]


@pytest.mark.feature("D5")
async def test_the_newest_lines_are_kept_and_a_look_gives_a_thousand(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    for first in (0, 900, 1800):
        assert await send(agent, batch(lease, first, 900)) == 204
    lines = await fleet.lease_logs(rig.ctx, lease.lease_id, 5000)
    assert [lines[0].number, lines[-1].number, len(lines)] == [1700, 2699, 1000]
    assert [line.number for line in await fleet.lease_logs(rig.ctx, lease.lease_id, 2)] == [
        2698,
        2699,
    ]


async def test_a_line_with_a_nul_in_it_is_kept_without(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    body = encode(LogBatch(str(lease.lease_id), 0, [LogLine(1, "stderr", "a\x00b")]))
    assert await send(agent, body) == 204
    assert (await fleet.lease_logs(rig.ctx, lease.lease_id, 1))[0].text == "ab"


async def test_more_lines_than_a_batch_may_hold_are_refused(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    assert await send(agent, batch(lease, 0, 1001)) == 400
    assert await fleet.lease_logs(rig.ctx, lease.lease_id, 1) == []


@pytest.mark.feature("C3")
async def test_a_leases_metrics_are_those_of_its_last_beat(rig: Rig) -> None:
    agent = await rig.agent()
    lease = await rig.running(agent)
    agent.gpus[0].utilisation_percent = 87
    await agent.beat(agent.seen(lease, metrics={"vllm:num_requests_running": 3.0}))
    await rig.front.flush()
    found = await fleet.lease_metrics(rig.ctx, rig.front.telemetry, lease.lease_id)
    assert found is not None
    assert found.worker == {"vllm:num_requests_running": 3.0}
    assert [one.utilisation_percent for one in found.gpus] == [87]
