"""What one lease is given: by the node that holds it alone, while it is open; nowhere in plain."""

from __future__ import annotations

import msgspec
import pytest
from sqlalchemy import text

from brain.fleet import LeaseView
from brain.secrets import service
from kernel.wire import encode
from kernel.wire.agent import LogBatch, LogLine, SecretsAnswer, SecretsRequest
from tests.support.deployments import House
from tests.support.fleet import VAULT, Agent

CANARY = "canary-0b5ce1f2-of-a-secret"
pytestmark = pytest.mark.feature("E1")


async def keep(house: House, name: str = "HF_TOKEN", value: str = CANARY) -> None:
    async with house.ctx.db.begin() as tx:
        await VAULT.set(tx, house.ctx, house.account, name, value, "tests")


async def ask(agent: Agent, lease: LeaseView, epoch: int | None = None) -> tuple[int, object]:
    """The status, and what was given."""
    request = SecretsRequest(str(lease.lease_id), lease.epoch if epoch is None else epoch)
    answer = await agent.send("/agent/v1/secrets", encode(request))
    if answer.status_code != 200:
        assert CANARY not in answer.text
        return answer.status_code, None
    return 200, msgspec.json.decode(answer.content, type=SecretsAnswer).environment


async def running(house: House) -> tuple[Agent, LeaseView]:
    agent = await house.node()
    made = await house.ready(secrets=("HF_TOKEN",))
    [replica] = await house.replicas(made)
    return agent, await house.lease(replica)


async def tables_that_hold(house: House, words: str) -> list[str]:
    """Every table with these words in any row, as PostgreSQL prints them, and in bytes."""
    async with house.ctx.db.begin() as tx:
        names = await tx.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        )
        found = []
        for name in list(names):
            rows = await tx.scalar(
                text(
                    f'SELECT count(*) FROM "{name}" t WHERE t::text LIKE :plain'
                    " OR t::text LIKE :packed"
                ),
                {"plain": f"%{words}%", "packed": f"%{words.encode().hex()}%"},
            )
            if rows:
                found.append(name)
    return found


async def test_the_node_that_holds_the_lease_is_given_its_secrets(house: House) -> None:
    await keep(house)
    agent, lease = await running(house)
    assert agent.told is not None
    await house.rig.front.look()
    agent.generation = 0
    told = (await agent.beat(*agent.last_seen)).desired
    assert told is not None
    assert told.leases[0].launch.secrets
    assert CANARY.encode() not in encode(told)
    assert await ask(agent, lease) == (200, {"HF_TOKEN": CANARY})


async def test_nobody_else_is_given_them(house: House) -> None:
    await keep(house)
    agent, lease = await running(house)
    other = await house.node()
    assert (await ask(other, lease))[0] == 404
    assert (await ask(agent, lease, epoch=lease.epoch + 1))[0] == 404
    unsigned = encode(SecretsRequest(str(lease.lease_id), lease.epoch))
    plain = await house.rig.http.post("/agent/v1/secrets", content=unsigned)
    assert plain.status_code == 401


async def test_they_are_gone_when_the_lease_ends(house: House) -> None:
    await keep(house)
    agent, lease = await running(house)
    await house.rig.stop_lease(lease.lease_id)
    assert (await ask(agent, lease))[0] == 404
    await house.obey()
    await house.tick()
    assert (await house.rig.lease(lease.lease_id)).closed
    async with house.ctx.db.begin() as tx:
        assert await VAULT.of_lease(tx, lease.lease_id) is None


async def test_each_time_they_are_given_is_audited(house: House) -> None:
    await keep(house)
    agent, lease = await running(house)
    await ask(agent, lease)
    async with house.ctx.db.begin() as tx:
        row = (await tx.execute(text("SELECT * FROM audit WHERE action = 'secrets.given'"))).one()
    assert (row.actor, row.subject) == (str(agent.node_id), str(lease.lease_id))
    assert row.detail == {"epoch": lease.epoch, "names": "HF_TOKEN", "registry": False}


async def test_a_missing_secret_is_said_and_waited_for(house: House) -> None:
    await house.node()
    made = await house.deploy(secrets=("HF_TOKEN",))
    await house.settle(rounds=2)
    [replica] = await house.replicas(made)
    assert replica.state == "pending"
    assert "no secret HF_TOKEN" in replica.waiting_reason
    await keep(house)
    await house.settle(rounds=4)
    assert await house.state(made) == "running"


async def test_a_changed_secret_is_given_to_those_that_start_after(house: House) -> None:
    await keep(house)
    agent, lease = await running(house)
    await keep(house, value="the-new-value")
    assert await ask(agent, lease) == (200, {"HF_TOKEN": CANARY})
    await house.node()
    old = lease.deployment_id
    await house.scale(old, 2)
    await house.settle(rounds=3)
    [newest] = [r for r in await house.replicas(old) if r.lease_id != lease.lease_id]
    other = next(a for a in house.rig.agents if a.node_id == newest.node_id)
    assert await ask(other, await house.lease(newest)) == (200, {"HF_TOKEN": "the-new-value"})


async def test_a_deleted_secret_takes_nothing_from_what_runs(house: House) -> None:
    await keep(house)
    agent, lease = await running(house)
    async with house.ctx.db.begin() as tx:
        await service.delete(tx, house.ctx, house.account, "HF_TOKEN", "tests")
    assert await ask(agent, lease) == (200, {"HF_TOKEN": CANARY})


async def test_the_value_is_in_no_table_in_plain_though_the_worker_prints_it(
    house: House, capfd: pytest.CaptureFixture[str]
) -> None:
    await keep(house)
    agent, lease = await running(house)
    await ask(agent, lease)
    lines = [LogLine(1, "stdout", f"token is {CANARY}, yes"), LogLine(2, "stderr", "fine")]
    sent = await agent.send("/agent/v1/logs", encode(LogBatch(str(lease.lease_id), 0, lines)))
    assert sent.status_code == 204
    await house.rig.front.flush()
    assert await tables_that_hold(house, CANARY) == []
    async with house.ctx.db.begin() as tx:
        kept = list(await tx.scalars(text("SELECT line FROM lease_log ORDER BY number")))
    assert kept == ["token is ***, yes", "fine"]
    said = capfd.readouterr()
    assert CANARY not in said.out + said.err


async def test_the_search_for_canaries_finds_one(house: House) -> None:
    await house.deploy(name="canary-in-a-name")
    assert "deployment" in await tables_that_hold(house, "canary-in-a-name")
    async with house.ctx.db.begin() as tx:
        await tx.execute(
            text("INSERT INTO lease_secret VALUES ('lease_x', :plain)"), {"plain": CANARY.encode()}
        )
    assert await tables_that_hold(house, CANARY) == ["lease_secret"]
