"""Cost guards: standing orders of the owner, which no change of state clears."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from brain import billing
from brain.deployments import core, hurry_unpaid, service
from kernel.clock import NS
from kernel.ids import DeploymentId
from kernel.wire.agent import DesiredState
from tests.support.deployments import Gateway, House


async def asked(house: House, made: DeploymentId) -> tuple[str, str]:
    row = (await house.look(made)).deployment
    return row.asked, row.asked_reason


@pytest.mark.feature("D3")
async def test_it_stops_when_its_longest_duration_is_over(house: House) -> None:
    await house.node()
    made = await house.ready(max_duration_seconds=60)
    await house.rig.pass_time(55, *house.rig.agents)
    await house.settle(rounds=1)
    assert await house.state(made) == "running"
    await house.rig.pass_time(10, *house.rig.agents)
    await house.settle(rounds=4)
    assert await asked(house, made) == ("stopped", "its longest duration of 60 s is over")
    assert await house.state(made) == "stopped"


@pytest.mark.feature("D3")
async def test_it_stops_when_it_was_idle(house: House) -> None:
    await house.node()
    made = await house.ready(idle_stop_seconds=60)
    await house.rig.pass_time(70, *house.rig.agents)
    await house.settle(rounds=4)
    assert await asked(house, made) == ("stopped", "it was idle for 60 s")


@pytest.mark.feature("D3")
async def test_time_without_a_ready_worker_is_not_idle(house: House) -> None:
    made = await house.deploy(idle_stop_seconds=60)  # there is no node to put it on
    await house.rig.pass_time(70)
    await house.settle(rounds=1)
    assert (await asked(house, made))[0] == "running"
    await house.node()
    await house.settle(rounds=3)
    assert await house.state(made) == "running"
    await house.rig.pass_time(70, *house.rig.agents)
    await house.settle(rounds=4)
    assert await asked(house, made) == ("stopped", "it was idle for 60 s")


async def test_a_start_anew_is_not_idle_since_the_last_run(house: House) -> None:
    agent = await house.node()
    made = await house.ready(idle_stop_seconds=60)
    await house.stop(made)
    await house.settle(rounds=4)
    await agent.rig.pass_time(100, agent)
    async with house.ctx.db.begin() as tx:
        await tx.execute(text("UPDATE node SET listed = false"))  # nowhere to go for now
        await service.start(tx, house.ctx, made, house.account)
    await house.rig.pass_time(70, agent)
    await house.settle(rounds=1)
    assert await house.state(made) == "waiting"


async def test_an_account_out_of_credit_is_drained(house: House) -> None:
    await house.node()
    made = await house.ready()
    async with house.ctx.db.begin() as tx:
        await tx.execute(
            text(
                "INSERT INTO account_standing (account_id, stopped, reason, at)"
                " VALUES (:account, true, 'test', now())"
            ),
            {"account": str(house.account)},
        )
        assert await billing.account_stopped(tx, house.account)
    await house.rig.pass_time(11, *house.rig.agents)
    await house.settle(rounds=4)
    assert await asked(house, made) == ("stopped", "the account is out of credit")
    assert await house.state(made) == "stopped"


@pytest.mark.feature("G6")
async def test_an_account_that_runs_dry_has_its_gpus_back_within_half_a_minute(
    house: House,
) -> None:
    """Though a request is in flight for ever, and its worker takes all the time it is given."""
    await house.node()
    gateway = Gateway(house.ctx)
    await gateway.hello()
    made = await house.ready()
    [replica] = await house.replicas(made)
    async with house.ctx.db.begin() as tx:
        # Nothing is left but what covers the next two minutes.
        await tx.execute(
            text("UPDATE balance SET posted = held WHERE ledger_account = :account"),
            {"account": str(house.account)},
        )

    async def second() -> None:
        await house.rig.pass_time(1, *house.rig.agents)
        await gateway.say(replica.replica_id, in_flight=1, draining=True)
        await billing.accrue_due(house.ctx)
        await hurry_unpaid(house.ctx)
        await house.tick()

    async def stopped() -> bool:
        async with house.ctx.db.begin() as tx:
            return await billing.account_stopped(tx, house.account)

    ran = 0
    while not await stopped():
        await second()
        ran += 1
        assert ran < 90, "two minutes' cover is renewed when one is left"
    seconds, launch = 0, None
    while launch is None:
        await second()
        seconds += 1
        assert seconds < 30
        desired = house.rig.agents[0].told.desired
        for lease in desired.leases if desired is not None else ():
            launch = lease.launch if lease.state is DesiredState.STOP else None
    assert launch.drain_seconds_max == core.UNPAID_DRAIN_SECONDS
    assert seconds + launch.drain_seconds_max < 20
    await house.obey()
    await house.settle(rounds=2)
    assert await house.state(made) == "stopped"


async def test_without_credit_for_the_first_minute_it_waits_and_says_so(house: House) -> None:
    await house.node()
    async with house.ctx.db.begin() as tx:
        await tx.execute(text("UPDATE node SET price_nano = 1000000000000"))
    await house.rig.pass_time(2, *house.rig.agents)
    made = await house.deploy()
    await house.tick()
    [replica] = await house.replicas(made)
    assert replica.state == "pending"
    assert "Add credit" in replica.waiting_reason
    async with house.ctx.db.begin() as tx:
        assert await tx.scalar(text("SELECT count(*) FROM lease")) == 0


async def test_a_crash_and_a_restart_clear_no_guard(house: House) -> None:
    await house.node()
    made = await house.ready(max_duration_seconds=300, idle_stop_seconds=600)
    await house.stop(made)
    await house.settle(rounds=4)
    row = (await house.look(made)).deployment
    assert (row.max_duration_seconds, row.idle_stop_seconds) == (300, 600)
    assert row.asked_ns <= house.clock.now_ns() < row.asked_ns + 300 * NS
