"""Volumes: where they lie, what keeps their pod there, what they cost, and how they end."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from brain import billing
from brain.plumbing import Ctx
from brain.pods import core, volume_store, volumes
from brain.pods.volume_store import Reported
from kernel.clock import NS
from kernel.errors import BadInput, Conflict
from kernel.ids import VolumeId
from kernel.wire.agent import LeaseSeenState
from tests.support.deployments import give
from tests.support.pods import Yard, data

pytestmark = pytest.mark.feature("E2")
HOUR = 3600.0


async def test_a_volume_outlives_stop_start_and_the_pod_itself(yard: Yard) -> None:
    node = await yard.node()
    made = await yard.running(mounts=[data()])
    volume = await yard.only_volume(made)
    assert (volume.state, volume.node_id) == ("kept", node.node_id)
    await yard.stop(made)
    await yard.settle(2)
    await yard.start(made)
    await yard.settle(2)
    assert [m.volume_id for m in (await yard.launch(made)).volumes] == [volume.volume_id]
    await yard.terminate(made)
    await yard.settle(2)
    assert (await yard.volume(volume.volume_id)).state == "kept"
    assert list(node.volumes) == [volume.volume_id]
    again = await yard.running(mounts=[data(size_gib=None)])
    assert (await yard.only_volume(again)).volume_id == volume.volume_id


async def test_terminated_with_its_volumes_nothing_is_left_on_the_node(yard: Yard) -> None:
    node = await yard.node()
    made = await yard.running(mounts=[data()])
    volume = await yard.only_volume(made)
    await yard.terminate(made, delete_volumes=True)
    await yard.settle(4)
    assert (await yard.volume(volume.volume_id)).state == "gone"
    assert node.volumes == {}
    assert node.told is not None
    await yard.obey()
    desired = node.told.desired
    assert desired is None or desired.drop_volumes == []


async def test_a_volume_is_dropping_until_its_node_reports_it_no_more(yard: Yard) -> None:
    node = await yard.node()
    made = await yard.running(mounts=[data()])
    volume = await yard.only_volume(made)
    await yard.terminate(made)
    await yard.settle(2)
    async with yard.ctx.db.begin() as tx:
        row = await volume_store.held(tx, volume.volume_id)
        assert row is not None
        await volumes.delete(tx, yard.ctx, row, "asked")
    await yard.pass_time(300)  # the node goes on to report it
    assert (await yard.volume(volume.volume_id)).state == "dropping"
    node.volumes.clear()
    node.generation = 0  # an answer to an older order proves nothing
    await node.beat()
    await yard.watch.flush()
    assert (await yard.volume(volume.volume_id)).state == "dropping"
    await yard.settle(2)
    assert (await yard.volume(volume.volume_id)).state == "gone"


async def test_a_pod_with_volumes_waits_for_their_node_and_says_so(yard: Yard) -> None:
    node = await yard.node()
    made = await yard.running(mounts=[data()])
    await yard.stop(made)
    await yard.settle(2)
    await yard.node()  # another one is free
    await yard.rig.claim(node)
    await yard.start(made)
    await yard.settle(2)
    found = await yard.look(made)
    assert found.state.value == "waiting"
    run = found.runs.run
    assert run is not None
    assert f"The pod's volumes lie on {node.node_id}; it can run nowhere else" in (
        run.waiting_reason
    )
    assert "0 of 1 GPUs are free" in run.waiting_reason


async def test_a_place_that_never_had_the_volume_does_not_hold_the_pod(yard: Yard) -> None:
    bad = await yard.node()
    made = await yard.create(mounts=[data()])
    await yard.tick()
    assert (await yard.only_volume(made)).node_id == bad.node_id
    await yard.obey(state=LeaseSeenState.FAILED)  # its image cannot be pulled there
    good = await yard.node()
    for _ in range(8):
        await yard.tick()
        await yard.obey(bad, state=LeaseSeenState.FAILED)
        await yard.obey(good)
        await yard.pass_time(5)
        await yard.tick()
    volume = await yard.only_volume(made)
    assert (volume.node_id, volume.state) == (good.node_id, "kept")
    assert await yard.state(made) == "running"


async def test_volumes_of_two_nodes_do_not_go_together(yard: Yard) -> None:
    await yard.node()
    first = await yard.running(mounts=[data(name="a")])
    await yard.node()
    await yard.running(mounts=[data(name="b")])
    for pod in [first, (await yard.running_ids())[-1]]:
        await yard.terminate(pod)
    await yard.settle(2)
    with pytest.raises(Conflict, match="lie on several nodes"):
        await yard.create(
            mounts=[data(None, "/a", "a"), data(None, "/b", "b")],
        )


async def test_storage_is_billed_while_the_pod_is_stopped_and_exactly(yard: Yard) -> None:
    await yard.node()
    made = await yard.running(mounts=[data(100)])
    await yard.stop(made)
    await yard.settle(2)
    for _ in range(5):
        await yard.pass_time(HOUR)
        await yard.tick()
    volume = await yard.only_volume(made)
    async with yard.ctx.db.begin() as tx:
        row = await volume_store.held(tx, volume.volume_id)
        assert row is not None
        await volumes.bill(tx, yard.ctx, row, ends=True)
        cost = await billing.storage_cost(tx, volume.volume_id)
        seen = await tx.scalar(text("SELECT sum(seen_ns) FROM storage_bill"))
    assert volume.found_ns is not None
    assert volume.seen_ns is not None
    assert int(seen or 0) == volume.seen_ns - volume.found_ns > 5 * 3600 * NS
    exact = volume.price_nano * 100 * int(seen or 0) // (3600 * NS)
    assert abs(cost.nano - exact) <= 1  # the account's carry holds what is left of its GPU time
    await yard.prove()


async def test_a_node_that_is_away_is_not_paid_for_its_absence(yard: Yard) -> None:
    await yard.node()
    made = await yard.running(mounts=[data(100)])
    volume = await yard.only_volume(made)
    await yard.stop(made)
    await yard.settle(2)
    before = volumes.kept_of(await yard.volume(volume.volume_id))
    away, yard.rig.agents = yard.rig.agents, []
    await yard.pass_time(1800)
    yard.rig.agents = away
    await yard.obey()
    after = volumes.kept_of(await yard.volume(volume.volume_id))
    assert before is not None
    assert after is not None
    assert after.unbilled_ns - before.unbilled_ns < core.GAP_NS
    assert after.seen_ns - before.seen_ns >= 1800 * NS


async def test_without_credit_a_volume_is_kept_for_the_grace_time_and_then_goes(
    yard: Yard,
) -> None:
    node = await yard.node()
    made = await yard.running(mounts=[data()])
    volume = await yard.only_volume(made)
    async with yard.ctx.db.begin() as tx:
        await billing.service.grants.stop_account(tx, yard.ctx, yard.account, "used up")
    await yard.pass_time(15)
    await yard.settle(2)
    assert await yard.state(made) == "stopped"
    await yard.jump(6.9)
    await yard.tick()
    assert (await yard.volume(volume.volume_id)).state == "kept"
    await yard.jump(0.2)
    await yard.settle(3)
    gone = await yard.volume(volume.volume_id)
    assert (gone.state, node.volumes) == ("gone", {})
    await yard.prove()
    await give(yard.ctx, yard.account, "5")
    with pytest.raises(Conflict, match="Its volume data is gone"):
        await yard.start(made)


async def test_credit_that_comes_back_ends_the_grace_time(yard: Yard) -> None:
    await yard.node()
    made = await yard.running(mounts=[data()])
    volume = await yard.only_volume(made)
    async with yard.ctx.db.begin() as tx:
        await billing.service.grants.stop_account(tx, yard.ctx, yard.account, "used up")
    await yard.pass_time(15)
    await yard.settle(2)
    assert (await yard.volume(volume.volume_id)).grace_ns is not None
    await give(yard.ctx, yard.account, "5")
    await yard.tick()
    assert (await yard.volume(volume.volume_id)).grace_ns is None


async def test_in_the_grace_time_the_owner_is_charged_nothing(yard: Yard) -> None:
    await yard.node()
    made = await yard.running(mounts=[data(100)])
    volume = await yard.only_volume(made)
    async with yard.ctx.db.begin() as tx:
        await billing.service.grants.stop_account(tx, yard.ctx, yard.account, "used up")
    await yard.pass_time(15)
    await yard.settle(2)
    async with yard.ctx.db.begin() as tx:
        before = await billing.storage_cost(tx, volume.volume_id)
    for _ in range(3):
        await yard.pass_time(HOUR)
        await yard.tick()
    async with yard.ctx.db.begin() as tx:
        assert await billing.storage_cost(tx, volume.volume_id) == before
        earned = await tx.scalar(
            text("SELECT sum(earned_nano) FROM storage_bill WHERE payer IS NULL")
        )
    assert int(earned or 0) > 0
    await yard.prove()


async def test_what_nobody_owns_is_shown_and_not_removed(yard: Yard) -> None:
    node = await yard.node()
    node.volumes["vol_" + "e" * 32] = 12
    await yard.settle(2)
    async with yard.ctx.db.begin() as tx:
        (stray,) = await volume_store.strays(tx, limit=10)
    assert (stray.node_id, stray.volume_id, stray.used_mib) == (
        node.node_id,
        "vol_" + "e" * 32,
        12,
    )
    assert node.told is not None
    node.generation = 0
    told = await node.beat()
    assert told.desired is not None
    assert told.desired.drop_volumes == []


async def test_a_volume_reported_by_another_node_is_a_stray_there(yard: Yard) -> None:
    await yard.node()
    made = await yard.running(mounts=[data()])
    volume = await yard.only_volume(made)
    other = await yard.node()
    other.volumes[str(volume.volume_id)] = 1
    await yard.settle(1)
    assert (await yard.volume(volume.volume_id)).node_id == volume.node_id
    async with yard.ctx.db.begin() as tx:
        assert [s.node_id for s in await volume_store.strays(tx, limit=10)] == [other.node_id]


async def test_the_database_counts_time_as_the_law_does(yard: Yard, ctx: Ctx) -> None:
    node = await yard.node()
    made = await yard.running(mounts=[data()])
    volume = await yard.only_volume(made)
    kept = volumes.kept_of(volume)
    assert kept is not None
    for step in (10 * NS, core.GAP_NS, core.GAP_NS + 1, 5 * NS, 900 * NS, 0):
        at = kept.seen_ns + step
        async with ctx.db.begin() as tx:
            one = Reported(str(node.node_id), str(volume.volume_id), 1, at)
            await volume_store.keep_seen(tx, [one])
        kept = core.seen_at(kept, at)
        assert volumes.kept_of(await yard.volume(volume.volume_id)) == kept


async def test_a_volume_in_use_is_not_deleted(yard: Yard) -> None:
    made = await yard.create(mounts=[data()])
    volume = await yard.only_volume(made)
    async with yard.ctx.db.begin() as tx:
        row = await volume_store.held(tx, volume.volume_id)
        assert row is not None
        with pytest.raises(Conflict, match="uses this volume"):
            await volumes.delete(tx, yard.ctx, row, "asked")


async def test_one_that_lies_nowhere_goes_at_once(yard: Yard) -> None:
    async with yard.ctx.db.begin() as tx:
        row = await volumes.create(tx, yard.ctx, yard.account, "empty", 5)
        await volumes.delete(tx, yard.ctx, row, "asked")
    assert (await yard.volume(VolumeId(row.volume_id))).state == "gone"


async def test_what_lay_on_a_removed_node_is_said_to_be_lost(yard: Yard) -> None:
    node = await yard.node()
    made = await yard.running(mounts=[data()])
    await yard.stop(made)
    await yard.settle(2)
    async with yard.ctx.db.begin() as tx:
        await tx.execute(
            text("UPDATE node SET revoked_at = now() WHERE node_id = :node"), {"node": node.node_id}
        )
    yard.rig.agents = []
    await yard.tick()
    lost = await yard.only_volume(made)
    assert (lost.state, "was removed" in lost.state_reason) == ("gone", True)
    with pytest.raises(Conflict, match="its node was removed"):
        await yard.start(made)


async def test_its_size_is_said_once(yard: Yard) -> None:
    async with yard.ctx.db.begin() as tx:
        await volumes.create(tx, yard.ctx, yard.account, "data", 5)
    with pytest.raises(BadInput, match="has 5 GiB"):
        await yard.create(mounts=[data(6)])
    with pytest.raises(BadInput, match="give size_gib to make it"):
        await yard.create(mounts=[data(None, name="other")])


async def test_a_run_whose_end_is_not_proved_holds_the_next_one_back(yard: Yard) -> None:
    node = await yard.node(gpus=2)
    made = await yard.running(mounts=[data()])
    others = [await yard.node() for _ in range(5)]
    await yard.rig.pass_time(40, *others)  # its container may live, and nobody hears of it
    for _ in range(3):
        await yard.tick()
        await yard.rig.pass_time(2, *others)
    assert await yard.state(made) == "waiting"
    await node.beat(*node.last_seen)  # heard again, with a GPU free and the lease not closed
    await yard.rig.front.flush()
    for _ in range(3):
        await yard.tick()
        await yard.rig.pass_time(3, *yard.rig.agents)
    run = (await yard.look(made)).runs.run
    assert run is not None
    assert run.lease_id is None
    assert "is not proved to have ended" in run.waiting_reason
