"""A renter's own image: what a cloud is told of it, that it runs and ends there, who refuses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from brain.clouds import (
    CloudRefused,
    Container,
    HasEndpoints,
    Machine,
    MachineMissing,
    MachineState,
    Order,
    RegistryAccess,
    RunsContainers,
)
from standins.clouds.runpod.pods import Wish
from tests.contract.cloud.rigs import RIGS, TAG, Rig, able

pytestmark = [pytest.mark.feature("E1"), pytest.mark.feature("B1"), pytest.mark.feature("B2")]
ABLE = able(RunsContainers)
OTHERS = sorted(set(RIGS) - set(ABLE))
SECRET = 'it\'s a $ecret "value"'
OWN = Container(
    image="ghcr.io/someone/box@sha256:" + "0" * 64,
    arguments=("train.py", "--epochs", "3", "it's one word"),
    env={"EPOCHS": "3", "TOKEN": SECRET},
)
LOGIN = RegistryAccess("ghcr.io", "someone", "gh-token")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChAKKYu2eBtyJqUEyMqkCyVdkdn0UvM3yWVtCRlE"


async def rent(rig: Rig, own: Container, *keys: str) -> Machine:
    offers = await rig.run(rig.cloud.offers())
    offer = min((one for one in offers if not one.spot), key=lambda one: one.gpus)
    order = Order(TAG, offer, container=own, disk_gib=25, ports=(8888, 9000), ssh_public_keys=keys)
    return await rig.run(rig.cloud.create(order))


def told(rig: Rig) -> tuple[str, str, Mapping[str, str], list[str]]:
    """What the cloud was told of the one machine: image, what it starts, variables, ports."""
    assert rig.world is not None
    (machine,) = rig.world.machines.values()
    wish = machine.details.get("wish")
    if isinstance(wish, Wish):
        return wish.image, wish.args, wish.env, [port.partition("/")[0] for port in wish.ports]
    given = machine.details
    ports = [name.rpartition(":")[2] for name in given["env"] if name.startswith("-p ")]
    env = {name: text for name, text in given["env"].items() if not name.startswith("-")}
    return given["image"], " ".join([given["onstart"], *given["args"]]).strip(), env, ports


@pytest.mark.parametrize("rig", ABLE, indirect=True)
async def test_image_arguments_variables_and_ports_arrive_and_nothing_of_ours(rig: Rig) -> None:
    await rent(rig, OWN)
    image, start, env, ports = told(rig)
    assert (image, dict(env), ports) == (OWN.image, dict(OWN.env), ["8888", "9000"])
    for word in OWN.arguments:
        assert word.replace("'", "") in start.replace("'", "").replace('"', "")


@pytest.mark.parametrize("rig", ABLE, indirect=True)
async def test_it_runs_has_addresses_of_the_clouds_own_and_ends(rig: Rig) -> None:
    made = await rent(rig, replace(OWN, arguments=()))
    assert made.tag == TAG
    rig.settle(600)
    await rig.run(rig.cloud.listing())
    seen = await rig.run(rig.cloud.machine(made.machine_id))
    assert (seen.state, seen.tag) == (MachineState.RUNNING, TAG)
    assert isinstance(rig.cloud, HasEndpoints)
    found = await rig.run(rig.cloud.endpoints(made.machine_id))
    assert [one.port for one in found if not one.shared] == [8888, 9000]
    await rig.run(rig.cloud.terminate(made.machine_id))
    rig.settle(600)
    await rig.run(rig.cloud.listing())
    assert isinstance(await rig.wrong(rig.cloud.machine(made.machine_id)), MachineMissing)


@pytest.mark.parametrize("rig", ABLE, indirect=True)
async def test_keys_of_its_owner_go_to_this_machine_alone(rig: Rig) -> None:
    """Never into the account's list, where they would open every other renter's machine."""
    command = ("sleep",) if rig.cloud.name == "vast" else ()
    made = await rent(rig, replace(OWN, command=command, shell=True), KEY)
    _, start, env, _ = told(rig)
    assert KEY in (env.get("PUBLIC_KEY", "") or start)
    rig.settle(600)
    await rig.run(rig.cloud.listing())
    assert isinstance(rig.cloud, HasEndpoints)
    found = await rig.run(rig.cloud.endpoints(made.machine_id))
    assert [one.user for one in found if one.kind == "ssh" and not one.shared] == ["root"]
    assert rig.world is not None
    assert rig.world.calls.get("other", 0) == 0, "nothing was asked of the account"


@pytest.mark.parametrize("rig", ABLE, indirect=True)
async def test_what_it_cannot_run_is_refused_before_anything_is_sent(rig: Rig) -> None:
    cloud = rig.cloud
    assert isinstance(cloud, RunsContainers)
    assert cloud.refuses(OWN) == ""
    odd = [
        replace(OWN, registry=LOGIN),
        replace(OWN, command=("python",)),
        replace(OWN, registry=replace(LOGIN, password="two words")),
        replace(OWN, command=("x" * 4000, "y" * 4000), shell=True),
    ]
    refused = [one for one in odd if cloud.refuses(one)]
    assert len(refused) >= 2
    for one in refused:
        assert cloud.refuses(one).endswith(".")
        assert isinstance(await rig.wrong(rent(rig, one)), CloudRefused)
    assert rig.world is not None
    assert (rig.world.machines, rig.world.calls.get("create", 0)) == ({}, 0)


@pytest.mark.parametrize("rig", OTHERS, indirect=True)
async def test_others_refuse_it_whole(rig: Rig) -> None:
    assert not isinstance(rig.cloud, RunsContainers)
    assert isinstance(await rig.wrong(rent(rig, OWN)), CloudRefused)
    assert (await rig.run(rig.cloud.listing())).machines == ()


def test_no_value_is_shown_by_accident() -> None:
    shown = repr(Order(TAG, None, container=replace(OWN, registry=LOGIN)))  # type: ignore[arg-type]
    assert SECRET not in shown
    assert LOGIN.password not in shown
