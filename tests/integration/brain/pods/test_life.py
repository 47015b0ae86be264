"""The life of a pod: placed, run, stopped, started, moved, terminated; what stays and what goes."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from brain import billing, pods
from brain.pods import access
from kernel.clock import NS
from kernel.errors import Conflict
from kernel.wire.agent import LeaseSeenState, RegistryLogin
from kernel.wire.gateway import PodState
from tests.support.fleet import VAULT
from tests.support.pods import IMAGE, Yard, data, unclosed_leases

pytestmark = pytest.mark.feature("E1")


async def test_a_pod_runs_its_image_as_asked(yard: Yard) -> None:
    await yard.node()
    made = await yard.running(
        command=["sh", "-c"], arguments=["sleep 9"], environment={"A": "b"}, ports=[9000, 80]
    )
    launch = await yard.launch(made)
    assert (launch.engine, launch.image) == ("pod", IMAGE)
    assert (launch.command, launch.arguments) == (["sh", "-c"], ["sleep 9"])
    assert (launch.environment, launch.ports, launch.port) == ({"A": "b"}, [80, 9000], 0)
    assert (launch.health_path, launch.shell, launch.secrets) == ("", True, False)


async def test_stop_gives_the_gpus_back_and_keeps_the_pod(yard: Yard) -> None:
    await yard.node()
    made = await yard.running()
    slug = (await yard.look(made)).pod.slug
    await yard.stop(made)
    await yard.settle(2)
    assert await yard.state(made) == "stopped"
    assert await unclosed_leases(yard.ctx) == 0
    await yard.start(made)
    await yard.settle(2)
    found = await yard.look(made)
    assert (found.state.value, found.pod.slug) == ("running", slug)
    assert len(found.runs.runs) == 2


async def test_without_volumes_it_starts_on_another_node(yard: Yard) -> None:
    first = await yard.node()
    made = await yard.running()
    await yard.stop(made)
    await yard.settle(2)
    second = await yard.node()
    await yard.rig.claim(first)  # somebody else has the first node now
    await yard.start(made)
    await yard.settle(2)
    run = (await yard.look(made)).runs.run
    assert run is not None
    assert run.node_id == second.node_id


async def test_a_terminated_pod_leaves_nothing(yard: Yard) -> None:
    await yard.node()
    made = await yard.running()
    await yard.terminate(made)
    assert await yard.state(made) == "terminating"
    await yard.settle(2)
    assert await yard.state(made) == "terminated"
    assert await unclosed_leases(yard.ctx) == 0
    async with yard.ctx.db.begin() as tx:
        assert await pods.pod_row(tx, made) is None
    with pytest.raises(Conflict):
        await yard.start(made)


async def test_a_pod_that_waits_says_why(yard: Yard) -> None:
    agent = await yard.rig.agent()  # no container engine
    made = await yard.create()
    await yard.tick()
    run = (await yard.look(made)).runs.run
    assert run is not None
    assert "no container engine" in run.waiting_reason
    assert await yard.state(made) == "waiting"
    assert agent.node_id


async def test_its_front_is_told_while_it_runs(yard: Yard) -> None:
    await yard.node()
    made = await yard.running(ports=[8888])
    async with yard.ctx.db.begin() as tx:
        row = await pods.pod_row(tx, made)
    found = await yard.look(made)
    assert row is not None
    assert found.runs.run is not None
    assert (row.slug, row.ports, row.state) == (found.pod.slug, [8888], PodState.RUNNING)
    assert (row.lease_id, row.epoch) == (found.runs.run.lease_id, found.runs.run.epoch)
    await yard.stop(made)
    await yard.tick()
    async with yard.ctx.db.begin() as tx:
        stopped = await pods.pod_row(tx, made)
        assert [stopped] == await pods.all_pod_rows(tx)
    assert stopped is not None
    assert (stopped.state, stopped.lease_id) == (PodState.STOPPED, "")


async def test_its_time_is_busy_from_ready_to_its_end_and_the_books_close(yard: Yard) -> None:
    await yard.node()
    made = await yard.running()
    await yard.pass_time(120)
    await yard.stop(made)
    await yard.settle(3)
    await billing.settle_due(yard.ctx)
    async with yard.ctx.db.begin() as tx:
        rows = await tx.execute(
            text(
                "SELECT CASE ledger_account WHEN :me THEN 'mine' ELSE"
                " split_part(ledger_account, ':', 2) END AS line, sum(amount) AS ns"
                " FROM journal_entry WHERE asset = 'GPUNS' GROUP BY 1"
            ),
            {"me": str(yard.account)},
        )
        spent = await billing.spending(tx, (await yard.look(made)).pod.deployment_id)
    found = {row.line: int(row.ns) for row in rows}
    assert found["mine"] >= 120 * NS
    assert (found["busy"], found.get("idle", 0), found.get("drain", 0)) == (0, 0, 0)
    assert spent.nano > 0
    await yard.prove()


async def test_a_pod_that_never_ran_costs_nothing(yard: Yard) -> None:
    await yard.node()
    made = await yard.create()
    await yard.tick()
    await yard.obey(state=LeaseSeenState.STARTING)
    await yard.pass_time(30)
    await yard.stop(made)
    await yard.settle(3)
    await billing.settle_due(yard.ctx)
    async with yard.ctx.db.begin() as tx:
        spent = await billing.spending(tx, (await yard.look(made)).pod.deployment_id)
    assert spent.nano == 0


async def test_out_of_credit_it_stops_and_says_so(yard: Yard) -> None:
    await yard.node()
    made = await yard.running()
    async with yard.ctx.db.begin() as tx:
        await billing.service.grants.stop_account(tx, yard.ctx, yard.account, "used up")
    await yard.pass_time(15)
    await yard.settle(2)
    found = await yard.look(made)
    assert (found.state.value, found.runs.asked_reason) == (
        "stopped",
        "the account is out of credit",
    )


async def test_a_starting_twice_or_stopping_twice_changes_nothing(yard: Yard) -> None:
    await yard.node()
    made = await yard.running()
    await yard.start(made)
    await yard.settle(1)
    assert len((await yard.look(made)).runs.runs) == 1
    for _ in range(2):
        await yard.stop(made)
    await yard.settle(2)
    assert await yard.state(made) == "stopped"


async def test_its_node_is_given_its_secrets_and_its_login_and_no_other(yard: Yard) -> None:
    async with yard.ctx.db.begin() as tx:
        await VAULT.set(tx, yard.ctx, yard.account, "HF_TOKEN", "hf_value", "test")
        login = RegistryLogin(server="ghcr.io", username="me", password="a token")
        row = await access.add_registry(
            tx, yard.ctx, VAULT.sealer, yard.account, login, "hub", "test"
        )
    await yard.node()
    made = await yard.running("ghcr.io/me/it:1", secrets=["HF_TOKEN"], registry="hub")
    assert (await yard.launch(made)).secrets is True
    run = (await yard.look(made)).runs.run
    assert run is not None
    assert run.lease_id is not None
    async with yard.ctx.db.begin() as tx:
        given = await VAULT.of_lease(tx, run.lease_id)
    assert given is not None
    assert (given.environment, given.registry) == ({"HF_TOKEN": "hf_value"}, login)
    assert str(row.registry_id).startswith("reg")


async def test_a_missing_secret_is_named_while_the_pod_waits(yard: Yard) -> None:
    await yard.node()
    made = await yard.create(secrets=["NOT_SET"])
    await yard.settle(1)
    run = (await yard.look(made)).runs.run
    assert run is not None
    assert "no secret NOT_SET" in run.waiting_reason
    assert await unclosed_leases(yard.ctx) == 0


async def test_two_pods_of_one_name_are_refused(yard: Yard) -> None:
    made = await yard.create(name="one")
    with pytest.raises(Conflict, match="already"):
        await yard.create(name="one")
    await yard.terminate(made)
    await yard.tick()
    await yard.create(name="one")


async def test_the_volume_of_another_pod_is_refused(yard: Yard) -> None:
    await yard.create(mounts=[data()])
    with pytest.raises(Conflict, match="is used by pod"):
        await yard.create(mounts=[data()])
