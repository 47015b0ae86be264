"""What gateways are told over /internal/changes: at once by NOTIFY, by the poll in any case."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from sqlalchemy import text

from brain import fleet
from brain.deployments import Feed, feed, service
from brain.deployments.feed import Subscriber
from brain.plumbing import changes
from brain.sources import sources
from kernel.errors import Unavailable
from kernel.ids import DeploymentId
from kernel.wire.digest import snapshot_digest
from kernel.wire.gateway import REVERSE, ChangeLine, ReplicaState, Snapshot
from tests.support.deployments import Gateway, House

SECRET = b"k" * 32
WAIT_SECONDS = 30  # of a busy machine; how soon it is, ``make bench ONLY=outages`` tells
NEVER_SECONDS = 3600.0


@pytest.fixture
def unpolled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told then, NOTIFY told: no poll comes round."""
    monkeypatch.setattr(feed, "POLL_SECONDS", NEVER_SECONDS)


@asynccontextmanager
async def listening(house: House) -> AsyncIterator[tuple[Feed, Subscriber, Snapshot]]:
    made = Feed(house.ctx, sources(SECRET))
    async with made.subscribe() as subscriber:
        first = await asyncio.wait_for(subscriber.lines.get(), WAIT_SECONDS)
        assert first is not None
        assert first.snapshot is not None
        yield made, subscriber, first.snapshot
    await made.close()


async def hear(subscriber: Subscriber) -> ChangeLine:
    """The next line that changes something."""
    async with asyncio.timeout(WAIT_SECONDS):
        line = await subscriber.lines.get()
        while line is not None and (line.beat or line.digest):
            line = await subscriber.lines.get()
    assert line is not None
    return line


async def test_it_begins_with_the_whole(house: House) -> None:
    await house.node()
    made = await house.ready()
    async with listening(house) as (_, _, snapshot):
        assert [row.deployment_id for row in snapshot.deployments] == [made]
        assert [row.state for row in snapshot.replicas] == [ReplicaState.READY]


@pytest.mark.feature("A20")
@pytest.mark.usefixtures("unpolled")
async def test_a_replica_that_gets_ready_is_told_at_once(house: House) -> None:
    await house.node()
    made = await house.deploy()
    await house.tick()
    async with listening(house) as (_, subscriber, snapshot):
        assert snapshot.replicas == []
        await house.obey()
        await house.tick()
        line = await hear(subscriber)
        assert line.replica is not None
        assert line.replica.deployment_id == made


@pytest.mark.feature("D3")
async def test_a_gateway_hears_of_the_drain_and_ends_it(house: House) -> None:
    gateway = Gateway(house.ctx)
    await gateway.hello()
    await house.node()
    made = await house.ready()
    async with listening(house) as (_, subscriber, _):
        await house.stop(made)
        await house.tick()
        line = await hear(subscriber)
        while line.replica is None:
            line = await hear(subscriber)
        assert line.replica.state is ReplicaState.DRAINING
        await gateway.say(line.replica.replica_id, in_flight=1, draining=True)
        await house.settle(rounds=3)
        assert await states(house, made) == ["draining"]
        await gateway.say(line.replica.replica_id, in_flight=0, draining=True)
        await house.settle(rounds=3)
        assert await states(house, made) == ["stopped"]


@pytest.mark.feature("I3")
@pytest.mark.usefixtures("unpolled")
async def test_who_waits_goes_on_when_listeners_were_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner of a new key may use it at once."""
    monkeypatch.setattr(feed, "TOLD_SECONDS_MAX", WAIT_SECONDS)
    async with listening(house) as (here, subscriber, _):
        made = await house.deploy()
        await here.told("deployment", str(made))
        told = [subscriber.lines.get_nowait() for _ in range(subscriber.lines.qsize())]
        assert made in {one.deployment.deployment_id for one in told if one and one.deployment}


async def states(house: House, made: DeploymentId) -> list[str]:
    return [replica.state for replica in await house.replicas(made)]


async def test_a_stopped_replica_is_dropped(house: House) -> None:
    await house.node()
    made = await house.ready()
    async with listening(house) as (_, subscriber, snapshot):
        await house.stop(made)
        await house.settle(rounds=3)
        gone = {snapshot.replicas[0].replica_id, str(made)}
        dropped: set[str] = set()
        while not gone <= dropped:  # in any order, beside what still changes of them
            line = await hear(subscriber)
            dropped |= {name for name in (line.drop_replica, line.drop_deployment) if name}
        assert dropped == gone


@pytest.mark.usefixtures("unpolled")
async def test_a_dead_replica_is_told_at_once(house: House) -> None:
    node = await house.node()
    await house.ready()
    async with listening(house) as (_, subscriber, _):
        [replica] = [r.replica_id for r in (await house.replicas(await only(house)))]
        await house.node()  # another one goes on, so the silence of the first is believed
        await house.rig.pass_time(30, house.rig.agents[1])
        await house.tick()
        assert node.node_id is not None
        line = await hear(subscriber)
        assert line.drop_replica == replica


async def only(house: House) -> DeploymentId:
    async with house.ctx.db.begin() as tx:
        found = (await tx.execute(text("SELECT deployment_id FROM deployment"))).scalar_one()
    return DeploymentId(found)


async def test_a_transaction_that_commits_late_is_not_skipped(house: House) -> None:
    first, second = await house.deploy(name="first"), await house.deploy(name="second")
    async with listening(house) as (_, subscriber, _):
        late = house.ctx.db.begin()
        tx = await late.__aenter__()
        await tx.execute(text("UPDATE deployment SET rate_nano = 1 WHERE name = 'first'"))
        await changes.mark(tx, "deployment", first)
        async with house.ctx.db.begin() as other:
            await other.execute(text("UPDATE deployment SET rate_nano = 2 WHERE name = 'second'"))
            await changes.mark(other, "deployment", second)
        told = (await hear(subscriber)).deployment
        assert told is not None
        assert told.deployment_id == second
        await late.__aexit__(None, None, None)
        told = (await hear(subscriber)).deployment
        assert told is not None
        assert told.deployment_id == first


async def test_without_notify_the_poll_finds_it(house: House) -> None:
    assert feed.POLL_SECONDS < 1
    made = await house.deploy()
    async with listening(house) as (_, subscriber, _):
        async with house.ctx.db.begin() as tx:
            await tx.execute(text("UPDATE deployment SET rate_nano = 7"))
            xid = "pg_current_xact_id()::text::bigint"
            await tx.execute(text(f"UPDATE change SET xid = {xid} WHERE entity = 'deployment'"))
        told = (await hear(subscriber)).deployment
        assert told is not None
        assert (told.deployment_id, told.rate_nano) == (made, 7)


async def test_the_digest_is_that_of_what_was_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "DIGEST_SECONDS", 0)
    await house.deploy()
    async with listening(house) as (_, subscriber, snapshot):
        line = await asyncio.wait_for(subscriber.lines.get(), WAIT_SECONDS)
        assert line is not None
        assert line.digest == snapshot_digest(snapshot)


async def test_what_nobody_marked_is_found_by_the_digest(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.deploy()
    async with listening(house) as (_, subscriber, _):
        async with house.ctx.db.begin() as tx:
            await tx.execute(text("UPDATE deployment SET rate_nano = 7"))
        monkeypatch.setattr(feed, "DIGEST_SECONDS", 0)
        told = (await hear(subscriber)).deployment
        assert told is not None
        assert told.rate_nano == 7


async def test_a_gateway_that_lags_is_let_go(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    subscriber = Subscriber()
    for _ in range(feed.QUEUE_MAX + 1):
        subscriber.put(ChangeLine(beat=True))
    assert await subscriber.lines.get() is None
    assert subscriber.lines.empty()


async def test_it_goes_on_after_the_database_was_away(house: House) -> None:
    made = await house.deploy()
    async with listening(house) as (_, subscriber, _):
        async with house.ctx.db.begin() as tx:
            others = "pid <> pg_backend_pid() AND datname = current_database()"
            await tx.execute(
                text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
            )
            await service.stop(tx, house.ctx, made, house.account)
        line = await hear(subscriber)
        while line.blind:  # it may have been reading
            line = await hear(subscriber)
        assert line.drop_deployment == made


async def test_only_gateways_may_listen(brain: httpx.AsyncClient) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}):
        answer = await brain.get("/internal/changes", headers=headers)
        assert answer.status_code == 401


async def test_a_closed_feed_takes_no_new_gateway(house: House) -> None:
    made = Feed(house.ctx, sources(SECRET))
    await made.close()
    with pytest.raises(Unavailable):
        async with made.subscribe():
            raise AssertionError("it was let in")


@pytest.mark.feature("C2")
async def test_a_replica_is_told_with_the_key_that_its_agent_proves_links_with(
    house: House,
) -> None:
    await house.node()
    await house.ready()
    async with listening(house) as (_, _, snapshot):
        [row] = snapshot.replicas
        assert row.link.kind == REVERSE
        keys = fleet.LinkKeys(fleet.session_secret(SECRET))
        assert row.link.key == keys.of(row.lease_id, row.epoch)
        assert row.link.key not in repr(row)


@pytest.mark.feature("O4")
async def test_a_database_that_is_away_is_told_at_once_and_its_return_as_well(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> object:
        raise OSError("the database is away")

    async with listening(house) as (_, subscriber, _):
        with monkeypatch.context() as patched:
            patched.setattr(feed, "marks_since", away)
            assert (await hear(subscriber)).blind
        async with asyncio.timeout(WAIT_SECONDS):
            assert (await subscriber.lines.get()).beat
