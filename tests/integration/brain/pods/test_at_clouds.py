"""A pod with its owner's own image at a cloud, without our agent: its life, its end, its money."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import text

from brain.adapters.clouds.runpod.orders import NO_COMMAND
from brain.billing.models import MeterLease
from brain.deployments.recipes import NO_VOLUMES, NOT_ASKED
from brain.plumbing import Ctx
from brain.plumbing.points import Killed
from brain.pods import access, all_pod_rows
from brain.pods.models import SshKey
from brain.provisioning import money_at_risk
from kernel.clock import NS, ManualClock
from kernel.ids import SshKeyId
from kernel.money import Money
from kernel.wire.agent import RegistryLogin
from kernel.wire.gateway import PodState
from standins.clouds.faults import FaultKind, Operation, When
from tests.support.cloud_pods import CloudYard, cloud_yard_at
from tests.support.fleet import VAULT
from tests.support.pods import data

pytestmark = pytest.mark.feature("E1", "B1", "B2")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAKKYu2eBtyJqUEyMqkCyVdkdn0UvM3yWVtCRlE me@here"


@pytest.fixture(params=["runpod", "vast"])
async def sky(
    request: pytest.FixtureRequest, ctx: Ctx, clock: ManualClock, valkey_url: str
) -> AsyncIterator[CloudYard]:
    async with cloud_yard_at(request.param, ctx, clock, valkey_url) as made:
        yield made


@pytest.fixture
async def runpod(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[CloudYard]:
    """Where which of the two it is makes no difference."""
    async with cloud_yard_at("runpod", ctx, clock, valkey_url) as made:
        yield made


async def meter(sky: CloudYard, lease_id: str) -> MeterLease:
    async with sky.ctx.db.begin() as tx:
        found = await tx.get(MeterLease, lease_id, populate_existing=True)
    assert found is not None
    return found


def a_key(sky: CloudYard, number: int) -> SshKey:
    return SshKey(
        ssh_key_id=sky.ctx.ids.new(SshKeyId),
        account_id=sky.account,
        name=f"key {number}",
        line=f"ssh-ed25519 {'A' * 60}{number:08d}",
        fingerprint=f"SHA256:{number}",
        created_at=sky.ctx.clock.now(),
    )


class DeathAt:
    """The process dies once at this point."""

    def __init__(self, name: str) -> None:
        self.name, self.died = name, False

    async def reach(self, name: str) -> None:
        if name == self.name and not self.died:
            self.died = True
            raise Killed(name)


async def test_it_runs_by_the_clouds_word_and_closes_on_its_proof(sky: CloudYard) -> None:
    pod = await sky.rented(ports=[8888], environment={"A": "b"}, disk_gib=33)
    await sky.pass_time(20)
    shown = await sky.shown(pod)
    assert (shown.agent, shown.cloud, shown.reachable) == ("none", sky.name, False)
    assert (shown.ssh, [one.url for one in shown.ports]) == (None, [None])
    assert "without our agent" in shown.notice
    assert [one.port for one in shown.endpoints] == [8888]
    intent = await sky.intent()
    assert (intent.state, intent.agentless, sky.machine().tag) == ("serving", True, intent.tag)
    assert sky.machine().rental.disk_gib in (33, 34)  # one cloud counts in GB
    async with sky.ctx.db.begin() as tx:
        risk = await money_at_risk(tx, now_ns=sky.clock.now_ns())
        joins = await tx.scalar(text("SELECT count(*) FROM join_token"))
    assert (risk.cost_nano_hour, joins) == (intent.cost_nano_hour, 0)
    sky.fail(FaultKind.DEAF, Operation.TERMINATE, next=1, seconds=60)
    await sky.stop(pod)
    await sky.pass_time(20)
    assert await sky.state(pod) == "stopping"  # the cloud has not proved its end
    assert len(sky.world.alive()) == 1
    await sky.until_state(pod, "stopped", 900)
    assert sky.world.alive() == []
    assert (await sky.intent()).state == "terminated"
    assert (await sky.shown(pod)).agent is None
    await sky.settle_books()


async def test_it_is_billed_from_the_first_to_the_last_word_of_the_cloud(sky: CloudYard) -> None:
    pod = await sky.rented()
    await sky.pass_time(120)
    row = await meter(sky, (await sky.intent()).lease_id)
    assert row.loading_ns == row.ready_ns
    assert row.ready_ns is not None
    ran_ns = next(at for at, state in sky.machine().past if state == "running")
    assert 0 <= row.ready_ns - ran_ns <= 20 * NS
    assert row.evidence_ns >= sky.clock.now_ns() - 40 * NS
    sky.fail(FaultKind.BROKEN, Operation.LIST, next=0, status=503)  # it says nothing any more
    await sky.pass_time(80, step=20)
    silent = await meter(sky, row.lease_id)
    assert silent.evidence_ns <= row.evidence_ns + 30 * NS
    assert len(sky.world.alive()) == 1  # what cannot be listed is not given up
    sky.world.interrupt(sky.machine().machine_id)
    sky.world.faults.clear()
    await sky.market()
    await sky.until(lambda one: one.lease_id != row.lease_id, 120)
    await sky.stop(pod)
    await sky.until_state(pod, "stopped")
    await sky.pass_time(30)
    await sky.settle_books()
    final = await meter(sky, row.lease_id)
    assert (final.finished, final.outcome) == (True, "lost")
    assert final.evidence_ns == silent.evidence_ns
    seconds = (final.evidence_ns - row.ready_ns) / NS
    assert final.billed_nano == pytest.approx(row.renter_rate_nano * seconds / 3600, rel=1e-6)


async def test_an_order_whose_answer_is_lost_makes_one_machine(runpod: CloudYard) -> None:
    sky = runpod
    sky.fail(FaultKind.CUT, Operation.CREATE, when=When.AFTER)
    await sky.market()
    pod = await sky.create(clouds=True)
    await sky.until_state(pod, "running", 300)
    assert (len(sky.world.machines), (await sky.intent()).attempt) == (1, 1)


@pytest.mark.parametrize("point", ["ordered", "boot_looked", "boot_saving"])
async def test_a_death_on_the_way_makes_one_machine_that_is_billed_once(
    runpod: CloudYard, point: str
) -> None:
    sky = runpod
    await sky.market()
    pod = await sky.create(clouds=True)
    death = DeathAt(f"provisioning.{point}")
    for _ in range(30):
        try:
            await sky.tick(replace(sky.ctx, points=death))
        except (Killed, BaseExceptionGroup):
            break
        sky.clock.advance(1)
    assert death.died
    await sky.until_state(pod, "running", 400)
    assert len(sky.world.alive()) == 1
    await sky.stop(pod)
    await sky.until_state(pod, "stopped", 300)
    await sky.settle_books()


async def test_ticks_that_meet_change_nothing(runpod: CloudYard) -> None:
    sky = runpod
    await sky.market()
    pod = await sky.create(clouds=True)
    for _ in range(12):
        await sky.tick(owner="worker-1")
        await sky.tick(owner="worker-2")
        sky.clock.advance(1)
    assert await sky.state(pod) == "running"
    assert len(sky.world.machines) == 1


async def test_a_list_without_it_is_not_its_end(runpod: CloudYard) -> None:
    sky = runpod
    pod = await sky.rented()
    before = sky.machine().machine_id
    sky.fail(FaultKind.PARTIAL, Operation.LIST, next=0, share=1.0)
    await sky.pass_time(200)
    assert await sky.state(pod) == "running"
    row = await meter(sky, (await sky.intent()).lease_id)
    assert row.evidence_ns < sky.clock.now_ns() - 150 * NS  # nor is it a sign of its life
    sky.world.faults.clear()
    await sky.pass_time(40)
    assert (await sky.state(pod), sky.machine().machine_id) == ("running", before)
    assert (await meter(sky, row.lease_id)).evidence_ns > row.evidence_ns


async def test_a_machine_that_is_gone_by_itself_is_replaced_and_billed_to_its_last_sign(
    sky: CloudYard,
) -> None:
    pod = await sky.rented()
    await sky.pass_time(60)
    first = await sky.intent()
    sky.world.terminate(sky.machine().machine_id)  # by somebody at the cloud's own console
    gone_ns = sky.clock.now_ns()
    await sky.until(lambda one: one.intent_id != first.intent_id, 200)
    await sky.until_state(pod, "running")
    row = await meter(sky, first.lease_id)
    assert (row.closed_ns is not None, row.evidence_ns <= gone_ns + NS) == (True, True)
    assert len(sky.world.alive()) == 1


async def test_a_program_that_ends_again_and_again_is_given_up(runpod: CloudYard) -> None:
    sky = runpod
    await sky.market()
    sky.fail(FaultKind.FAILED_BOOT, Operation.CREATE, next=0, seconds=1)
    pod = await sky.create(clouds=True)
    await sky.until_state(pod, "failed", 400)
    shown = await sky.shown(pod)
    assert "5 starts of its workers failed within 360 minutes" in shown.reason
    await sky.pass_time(60)
    assert (len(sky.world.machines), sky.world.alive()) == (5, [])
    assert shown.cost_usd == "0.00"


async def test_a_boot_without_an_end_is_given_up_in_time(runpod: CloudYard) -> None:
    sky = runpod
    await sky.market()
    sky.fail(FaultKind.ENDLESS_BOOT, Operation.CREATE, next=1)
    pod = await sky.create(clouds=True)
    await sky.pass_time(60)
    assert "must run by" in (await sky.shown(pod)).reason
    await sky.pass_time(sky.cloud.facts.boot_seconds_max, step=20)
    await sky.market()
    await sky.until_state(pod, "running", 200)
    assert (await sky.intents())[0].state == "terminated"
    assert "did not say in time" in (await sky.look(pod)).runs.runs[0].reason


async def test_what_the_cloud_lists_and_never_says_to_run_is_given_up(runpod: CloudYard) -> None:
    sky = runpod
    pod = await sky.rented()
    first = await sky.intent()
    machine = sky.machine()
    sky.world.stop(machine.machine_id)
    sky.world.start(machine.machine_id)
    machine.ahead.clear()  # it comes up no more
    await sky.pass_time(560, step=20)
    assert (await sky.intent()).state == "serving"
    await sky.market()
    await sky.until(lambda one: one.intent_id != first.intent_id, 200)
    await sky.until_state(pod, "running")
    assert "has not said for 600 s" in (await sky.look(pod)).runs.runs[0].reason


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"budget": Money.usd("0.01")}, "budget"),
        ({"max_duration_seconds": 120}, "longest duration"),
    ],
)
async def test_its_limits_end_it_at_the_cloud(
    runpod: CloudYard, wanted: dict[str, object], said: str
) -> None:
    sky = runpod
    pod = await sky.rented(**wanted)
    await sky.until_state(pod, "stopped", 400)
    shown = await sky.shown(pod)
    assert said in shown.reason
    assert sky.world.alive() == []
    assert Money.usd(shown.cost_usd).nano <= Money.usd("0.02").nano
    await sky.settle_books()


async def test_credit_that_is_over_ends_it(runpod: CloudYard) -> None:
    sky = runpod
    pod = await sky.rented()
    async with sky.ctx.db.begin() as tx:
        await tx.execute(
            text(
                "INSERT INTO account_standing (account_id, stopped, reason, at)"
                " VALUES (:account, true, 'test', now())"
            ),
            {"account": str(sky.account)},
        )
    await sky.until_state(pod, "stopped")
    assert "out of credit" in (await sky.shown(pod)).reason
    assert sky.world.alive() == []


async def test_what_it_is_given_goes_to_the_cloud_and_nowhere_else(
    ctx: Ctx, clock: ManualClock, valkey_url: str
) -> None:
    async with cloud_yard_at("vast", ctx, clock, valkey_url) as sky:
        login = RegistryLogin(server="ghcr.io", username="me", password="gh-token-7F")
        async with ctx.db.begin() as tx:
            await VAULT.set(tx, ctx, sky.account, "TOKEN", "s3cret-value", "test")
            await access.add_registry(tx, ctx, VAULT.sealer, sky.account, login, "github", "test")
            await access.add_key(tx, ctx, sky.account, None, KEY, "test")
        pod = await sky.rented(
            "ghcr.io/me/box:1",
            secrets=["TOKEN"],
            registry="github",
            command=["sleep"],
            arguments=["infinity"],
        )
        details = sky.machine().details
        assert details["image"] == "ghcr.io/me/box:1"
        assert details["env"]["TOKEN"] == "s3cret-value"
        assert (details["runtype"], KEY.split()[1] in details["onstart"]) == (
            "ssh_direc ssh_proxy",
            True,
        )
        assert details["onstart"].endswith("\nsleep infinity")
        await sky.pass_time(20)
        ways = [(one.kind, one.user) for one in (await sky.shown(pod)).endpoints]
        assert ("ssh", "root") in ways
        async with ctx.db.begin() as tx:
            rows = await tx.execute(text("SELECT provision_intent::text FROM provision_intent"))
            kept = " ".join(row[0] for row in rows)
        assert not [word for word in ("s3cret-value", "gh-token-7F") if word in kept]


async def test_who_does_not_ask_for_clouds_gets_none(sky: CloudYard) -> None:
    await sky.market()
    pod = await sky.create()
    await sky.tick()
    assert await sky.state(pod) == "waiting"
    assert NOT_ASKED in await sky.why(pod)
    assert await sky.intents() == []


async def test_volumes_and_what_a_cloud_cannot_do_are_refused_with_the_reason(
    runpod: CloudYard,
) -> None:
    sky = runpod
    await sky.market()
    kept = await sky.create(clouds=True, mounts=[data()])
    entry = await sky.create(clouds=True, command=["python"], arguments=["x.py"])
    await sky.tick()
    assert NO_VOLUMES in await sky.why(kept)
    assert NO_COMMAND in await sky.why(entry)
    assert await sky.intents() == []


async def test_an_order_that_the_cloud_refuses_counts_against_the_pod_alone(
    ctx: Ctx, clock: ManualClock, valkey_url: str
) -> None:
    async with cloud_yard_at("vast", ctx, clock, valkey_url) as sky:
        await sky.market()
        async with ctx.db.begin() as tx:
            for number in range(30):
                tx.add(a_key(sky, number))
        pod = await sky.create(clouds=True, command=["sleep"], arguments=["1" * 3000])
        await sky.until_state(pod, "failed", 200)
        assert sky.world.machines == {}
        async with ctx.db.begin() as tx:
            rests = await tx.scalar(text("SELECT count(*) FROM offer_block"))
        assert rests == 0


async def test_one_that_takes_another_name_at_its_cloud_is_still_known(
    ctx: Ctx, clock: ManualClock, valkey_url: str
) -> None:
    """Its container may hold a key for itself: whatever label it takes, it freezes no sweep, and is
    ended by its id."""
    async with cloud_yard_at("vast", ctx, clock, valkey_url) as sky:
        pod = await sky.rented()
        sky.machine().tag = sky.machine().tag.removesuffix("-1") + "-2"  # an order to come
        sky.clock.advance(300)
        await sky.sweep()
        async with ctx.db.begin() as tx:
            risk = await money_at_risk(tx, now_ns=clock.now_ns())
        (account,) = [one.account for one in risk.clouds]
        assert account is not None
        assert (account.frozen_ns, risk.clouds[0].unknown, risk.alerts) == (None, (), ())
        await sky.pass_time(30)
        assert await sky.state(pod) == "running"
        await sky.stop(pod)
        await sky.until_state(pod, "stopped")
        assert sky.world.alive() == []


async def test_fronts_are_told_that_it_is_elsewhere(runpod: CloudYard) -> None:
    sky = runpod
    await sky.rented(ports=[80])
    async with sky.ctx.db.begin() as tx:
        (row,) = await all_pod_rows(tx)
    assert (row.state, row.lease_id) == (PodState.STOPPED, "")
    assert "runs at runpod without our agent" in row.reason
