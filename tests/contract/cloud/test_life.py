"""The life of a machine: rented, found by its tag, listed, ended; each step told in our words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from brain.clouds import (
    HasBalance,
    HasEndpoints,
    HasLogs,
    HasStop,
    HasVolumes,
    Listing,
    MachineMissing,
    MachineState,
)
from tests.contract.cloud.rigs import EMULATED, TAG, Rig, able

pytestmark = [
    pytest.mark.feature("B1"),
    pytest.mark.feature("B2"),
    pytest.mark.feature("B3"),
    pytest.mark.feature("B4"),
]
COMING_UP = {MachineState.PROVISIONING, MachineState.STARTING, MachineState.RUNNING}
ENDING = {MachineState.TERMINATING, MachineState.TERMINATED}


async def listed(rig: Rig) -> Listing:
    listing = await rig.run(rig.cloud.listing())
    assert listing.complete
    return listing


async def test_a_new_machine_is_found_by_its_tag(rig: Rig) -> None:
    made = await rig.rent()
    assert made.machine_id
    assert made.tag == TAG
    assert made.state in COMING_UP
    rig.settle()
    assert [one.machine_id for one in await rig.run(rig.cloud.find_by_tag(TAG))] == [
        made.machine_id
    ]


async def test_a_machine_comes_up_and_says_what_it_is(rig: Rig) -> None:
    made = await rig.rent()
    rig.settle(600)
    await listed(rig)
    seen = await rig.run(rig.cloud.machine(made.machine_id))
    assert (seen.state, seen.tag, seen.machine_id) == (MachineState.RUNNING, TAG, made.machine_id)
    assert (seen.gpus, bool(seen.gpu_name), bool(seen.said)) == (made.gpus or 1, True, True)
    assert seen.cost_nano_hour is None or seen.cost_nano_hour > 0
    assert seen in (await listed(rig)).machines


async def test_only_the_exact_tag_is_found(rig: Rig) -> None:
    await rig.rent(TAG)
    rig.settle()
    longer = await rig.rent(f"{TAG}1")
    rig.settle()
    assert len((await listed(rig)).machines) == 2
    assert await rig.run(rig.cloud.find_by_tag(TAG[:-1])) == []
    assert [one.machine_id for one in await rig.run(rig.cloud.find_by_tag(f"{TAG}1"))] == [
        longer.machine_id
    ]


async def test_an_ended_machine_goes_and_may_be_ended_again(rig: Rig) -> None:
    made = await rig.rent()
    rig.settle()
    await rig.run(rig.cloud.terminate(made.machine_id))
    states = {one.state for one in (await listed(rig)).machines}
    assert states <= COMING_UP | ENDING
    rig.settle(600)
    assert {one.state for one in (await listed(rig)).machines} <= {MachineState.TERMINATED}
    for call in (rig.cloud.terminate, rig.cloud.machine):
        assert isinstance(await rig.wrong(call(made.machine_id)), MachineMissing)


@pytest.mark.parametrize("rig", EMULATED, indirect=True)
async def test_two_machines_of_one_tag_are_both_found(rig: Rig) -> None:
    assert rig.world is not None
    for stock in list(rig.world.stocks.values()):
        rig.world.set_stock(replace(stock, capacity=stock.capacity + stock.gpus))
    rig.fail("doubled", "create")
    await rig.rent()
    rig.settle()
    assert len(await rig.run(rig.cloud.find_by_tag(TAG))) == 2


@pytest.mark.parametrize("rig", EMULATED, indirect=True)
async def test_a_machine_that_was_never_made_is_not_found(rig: Rig) -> None:
    rig.fail("ghost", "create")
    ghost = await rig.rent()
    rig.settle()
    assert await rig.run(rig.cloud.find_by_tag(TAG)) == []
    assert isinstance(await rig.wrong(rig.cloud.machine(ghost.machine_id)), MachineMissing)


@pytest.mark.parametrize("machine_id", ["", "../pods", "a/b", "1 OR 1=1", "\N{SNOWMAN}", "x" * 999])
async def test_an_odd_id_is_no_machine_and_no_path(rig: Rig, machine_id: str) -> None:
    for call in (rig.cloud.machine, rig.cloud.terminate):
        assert isinstance(await rig.wrong(call(machine_id)), MachineMissing)
    assert rig.world is None or not rig.world.calls


@pytest.mark.parametrize("rig", able(HasStop), indirect=True)
async def test_a_stopped_machine_keeps_its_tag_and_starts_again(rig: Rig) -> None:
    cloud = rig.cloud
    assert isinstance(cloud, HasStop)
    made = await rig.rent()
    rig.settle(600)
    await listed(rig)
    await rig.run(cloud.stop(made.machine_id))
    rig.settle()
    stopped = await rig.run(rig.cloud.machine(made.machine_id))
    assert (stopped.state, stopped.tag) == (MachineState.STOPPED, TAG)
    await rig.run(cloud.start(made.machine_id))
    rig.settle(600)
    await listed(rig)
    assert (await rig.run(rig.cloud.machine(made.machine_id))).state == MachineState.RUNNING


async def test_what_else_a_cloud_can_do_answers_in_our_shapes(rig: Rig) -> None:
    made = await rig.rent()
    rig.settle(600)
    await listed(rig)
    cloud = rig.cloud
    if isinstance(cloud, HasBalance):
        assert type(await rig.run(cloud.balance_nano())) is int
    if isinstance(cloud, HasEndpoints):
        found = await rig.run(cloud.endpoints(made.machine_id))
        assert all(0 < one.port < 65536 and one.host and one.kind for one in found)
    if isinstance(cloud, HasLogs):
        assert len(await rig.run(cloud.logs(made.machine_id, lines_max=5))) <= 5
    assert cloud.facts.title
    assert cloud.facts.boot_seconds_max >= 60


@pytest.mark.parametrize("rig", able(HasVolumes), indirect=True)
async def test_a_volume_is_made_listed_and_removed(rig: Rig) -> None:
    cloud = rig.cloud
    assert isinstance(cloud, HasVolumes)
    made = await rig.run(cloud.make_volume("models", 50, "EU-RO-1"))
    assert (made.name, made.size_gib, made.region) == ("models", 50, "EU-RO-1")
    assert await rig.run(cloud.volumes()) == [made]
    await rig.run(cloud.remove_volume(made.volume_id))
    assert await rig.run(cloud.volumes()) == []
