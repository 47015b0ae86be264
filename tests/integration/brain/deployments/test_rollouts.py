"""Rolling updates over the real database, with agents that obey and gateways that tell."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from brain.deployments import rollouts
from brain.deployments.models import Replica
from kernel.errors import BadInput, Conflict
from kernel.ids import DeploymentId
from kernel.wire.agent import LeaseSeenState
from tests.integration.brain.deployments.test_dying import dying
from tests.support.deployments import Gateway, House
from tests.support.mortal import When

pytestmark = pytest.mark.feature("D3")
GONE = ("stopped", "failed")
STRIDE = 9  # of the transactions it dies at, in the suite


async def running(house: House, replicas: int = 2, spare: int = 1) -> DeploymentId:
    """So many ready workers of the first revision, and GPUs to spare."""
    await house.node(replicas + spare)
    made = await house.deploy(replicas=replicas)
    await house.settle(rounds=2, seconds=1)
    assert await house.state(made) == "running"
    assert (await house.look(made)).deployment.stable_revision == 1
    return made


async def live(house: House, made: DeploymentId) -> list[Replica]:
    return [r for r in await house.replicas(made) if r.state not in GONE]


async def revisions(house: House, made: DeploymentId) -> dict[int, int]:
    """How many workers that are ready each revision has."""
    found: dict[int, int] = {}
    for one in await live(house, made):
        if one.state == "ready":
            found[one.revision] = found.get(one.revision, 0) + 1
    return found


async def outcomes(house: House, made: DeploymentId) -> dict[int, str | None]:
    async with house.ctx.db.begin() as tx:
        rows = await rollouts.listed(tx, made, before=None, limit=50)
    return {row.number: row.outcome for row in rows}


async def watch(house: House, made: DeploymentId, rounds: int, *, wanted: int = 2) -> None:
    """Time passes; never fewer ready than wanted, never more live than one above that."""
    for _ in range(rounds):
        for step in (house.tick, house.obey):
            await step()
            there = await live(house, made)
            assert len(there) <= wanted + 1
            assert sum(r.state == "ready" for r in there) >= wanted
        await house.rig.pass_time(1.1, *house.rig.agents)


async def test_a_changed_setting_is_rolled_out_one_by_one(house: House) -> None:
    made = await running(house)
    await house.update(made, context=2048)
    await watch(house, made, 16)
    assert await revisions(house, made) == {2: 2}
    found = await house.look(made)
    assert (found.deployment.stable_revision, found.state.value) == (2, "running")
    assert await outcomes(house, made) == {2: "complete", 1: "complete"}


async def test_what_is_so_already_makes_no_revision(house: House) -> None:
    made = await running(house, 1)
    await house.update(made, context=4096)
    assert (await house.look(made)).deployment.revision == 1


async def test_old_ones_serve_until_every_gateway_knows_the_new_one(house: House) -> None:
    made = await running(house, 1)
    [old] = await live(house, made)
    gateway = Gateway(house.ctx)
    await gateway.hello()
    await house.update(made, context=2048)
    await house.settle(rounds=4, seconds=1)
    [new] = [r for r in await live(house, made) if r.revision == 2]
    assert (new.state, (await live(house, made))[0].stop_asked_ns) == ("ready", None)
    await house.rig.pass_time(1, *house.rig.agents)
    await gateway.say(new.replica_id, in_flight=0, draining=False)
    await house.rig.pass_time(1, *house.rig.agents)
    await house.tick()
    [before] = [r for r in await house.replicas(made) if r.replica_id == old.replica_id]
    assert before.stop_asked_ns is not None


async def test_without_room_to_grow_one_goes_first(house: House) -> None:
    made = await running(house, 2, spare=0)
    terms = {"max_surge": 0, "max_unavailable": 1}
    await house.update(made, context=2048, terms=terms)
    least = 2
    for _ in range(16):
        await house.settle(rounds=1, seconds=1.1)
        least = min(least, sum((await revisions(house, made)).values()))
    assert least >= 1
    assert await revisions(house, made) == {2: 2}


async def test_new_ones_that_fail_are_given_up_and_the_old_ones_go_on(house: House) -> None:
    made = await running(house)
    await house.update(made, context=2048, terms={"progress_seconds": 60})
    for _ in range(40):
        await house.tick()
        await obey_only_revision(house, made, 1)
        assert (await revisions(house, made)).get(1) == 2
        await house.rig.pass_time(2, *house.rig.agents)
    found = (await house.look(made)).deployment
    assert (found.revision, found.stable_revision, found.context) == (1, 1, 4096)
    assert "Revision 2 was given up for revision 1" in found.rollout_reason
    assert (await outcomes(house, made))[2] == "failed"
    await house.settle(rounds=3)
    assert await revisions(house, made) == {1: 2}
    assert await house.state(made) == "running"


async def obey_only_revision(house: House, made: DeploymentId, number: int) -> None:
    """Workers of any other revision load for ever."""
    kept = {str(r.lease_id) for r in await house.replicas(made) if r.revision == number}
    await house.obey(only=kept)


async def test_new_ones_with_no_place_are_given_up_with_that_reason(house: House) -> None:
    made = await running(house, 1, spare=0)
    await house.update(made, context=2048, terms={"progress_seconds": 30})
    await house.settle(rounds=12, seconds=4)
    found = (await house.look(made)).deployment
    assert found.revision == 1
    assert "found no place" in found.rollout_reason
    assert await revisions(house, made) == {1: 1}


async def test_a_further_change_supersedes(house: House) -> None:
    made = await running(house)
    await house.update(made, context=2048)
    await house.settle(rounds=2, seconds=1)
    await house.update(made, context=1024)
    await watch(house, made, 20)
    assert await revisions(house, made) == {3: 2}
    assert await outcomes(house, made) == {3: "complete", 2: "superseded", 1: "complete"}


async def test_its_owner_goes_back_in_the_middle_and_after(house: House) -> None:
    made = await running(house)
    await house.update(made, context=2048)
    await house.settle(rounds=2, seconds=1)
    await house.roll_back(made)
    await watch(house, made, 12)
    assert await revisions(house, made) == {1: 2}
    await house.update(made, context=1024)
    await watch(house, made, 16)
    assert (await house.roll_back(made)).deployment.revision == 1
    await watch(house, made, 16)
    assert await revisions(house, made) == {1: 2}
    assert (await house.look(made)).deployment.context == 4096


async def test_with_nothing_to_go_back_to_it_says_so(house: House) -> None:
    made = await running(house, 1)
    with pytest.raises(Conflict):
        await house.roll_back(made)
    with pytest.raises(Conflict):
        await house.roll_back(made, 1)


async def test_a_first_revision_that_never_ran_is_simply_replaced(house: House) -> None:
    made = await house.deploy(context=1024)
    await house.tick()
    await house.update(made, context=2048)
    await house.node()
    await house.settle(rounds=6)
    assert await revisions(house, made) == {2: 1}


async def test_scaled_to_zero_it_proves_nothing_and_is_rolled_out_when_it_grows(
    house: House,
) -> None:
    made = await running(house, 1)
    await house.scale(made, 0)
    await house.settle(rounds=3)
    await house.update(made, context=2048, terms={"progress_seconds": 10})
    await house.settle(rounds=10)
    row = (await house.look(made)).deployment
    assert (row.revision, row.stable_revision) == (2, 1)
    await house.scale(made, 1)
    await house.settle(rounds=3)
    assert (await house.look(made)).deployment.stable_revision == 2


async def test_what_cannot_be_is_refused_and_changes_nothing(house: House) -> None:
    made = await running(house, 1)
    for changed in (
        {"terms": {"max_surge": 0}},
        {"context": 10**6},
        {"arguments": ("--trust-remote-code",)},
        {"arguments": ("--seed", "/etc/passwd")},
        {"secrets": ("LD_PRELOAD",)},
        {"model": "BAAI/bge-large-en-v1.5"},
    ):
        with pytest.raises(BadInput):
            await house.update(made, **changed)
    assert (await house.look(made)).deployment.revision == 1


async def test_arguments_reach_the_new_workers_alone(house: House) -> None:
    made = await running(house, 1)
    await house.update(made, arguments=("--first-token-ms=7",))
    await house.tick()
    async with house.ctx.db.begin() as tx:
        rows = await tx.execute(text("SELECT epoch, launch FROM lease ORDER BY opened_ns, epoch"))
        launches = [bytes(row.launch).decode() for row in rows]
    assert ["--first-token-ms=7" in one for one in launches] == [False, True]


@pytest.mark.slow
@pytest.mark.parametrize("when", list(When))
@pytest.mark.parametrize("stride", [STRIDE, pytest.param(3, marks=pytest.mark.long)])
async def test_it_dies_at_each_transaction_of_a_rollout(
    house: House, when: When, stride: int, seed: int
) -> None:
    """Which ones of them is drawn anew in each run; more of them with `make test-long`."""
    made = await running(house, 1)
    at, number = -(seed % stride), 1
    while True:
        at += stride
        tick, db = dying(house, at, when)
        number += 1
        await house.update(made, context=1000 + number)
        for _ in range(30):
            await tick()
            await house.obey()
            there = await live(house, made)
            assert len(there) <= 2, f"died {when} transaction {at}"
            assert any(r.state == "ready" for r in there)
            if (await house.look(made)).deployment.stable_revision == number:
                break
            await house.rig.pass_time(1.1, *house.rig.agents)
        assert await revisions(house, made) == {number: 1}, f"died {when} transaction {at}"
        if not db.dead:
            break


async def test_ticks_at_once_roll_out_once(house: House) -> None:
    made = await running(house)
    await house.update(made, context=2048)
    for _ in range(16):
        await asyncio.gather(*(house.tick() for _ in range(3)))
        await house.obey()
        assert len(await live(house, made)) <= 3
        await house.rig.pass_time(1.1, *house.rig.agents)
    assert await revisions(house, made) == {2: 2}


async def test_scaling_down_takes_the_least_busy(house: House) -> None:
    made = await running(house)
    gateway = Gateway(house.ctx)
    await gateway.hello()
    first, second = await live(house, made)
    for busy, calm in ((first, second),):
        await gateway.say(busy.replica_id, in_flight=5, draining=False)
        await house.scale(made, 1)
        await house.tick()
        [stopped] = [r for r in await house.replicas(made) if r.stop_asked_ns is not None]
        assert stopped.replica_id == calm.replica_id


async def test_a_worker_that_falters_makes_no_second_rollout(house: House) -> None:
    made = await running(house, 1)
    await house.obey(state=LeaseSeenState.LOADING)
    await house.tick()
    assert len(await live(house, made)) == 1
