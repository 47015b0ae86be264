"""The stand-in for Vast.ai, judged by Vast.ai's own client, which nobody has touched."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kernel.clock import ManualClock, SystemClock
from kernel.money import NANO
from standins.clouds import vast
from standins.clouds.boot import Processes
from standins.clouds.faults import Fault, FaultKind, Operation
from standins.clouds.machine import Rental, State
from standins.clouds.vast.stocks import RULES
from standins.clouds.world import World
from tests.integration.standins.clouds.clients import (
    AT_ONCE,
    CommandLine,
    address,
    environment,
    listener,
    run,
    served,
)
from tests.support.wait import until

pytestmark = pytest.mark.feature("B2")
KEY = "vast-key"
ENTRY = ("vastai.cli.main", "main", "vastai.cli.commands.instances", "rich.table")
SEARCH = "gpu_name=RTX_4090 num_gpus=1 reliability>0.98 dph_total<0.5"
SSH_KEY = "ssh-ed25519 AAAA x"


@dataclass
class Bench:
    """The emulated cloud, its address, and the client pointed at it."""

    world: World
    url: str
    cli: CommandLine

    async def raw(self, *arguments: str) -> Any:
        return json.loads(await self.cli.good(*arguments, "--raw"))

    async def offer(self, query: str = SEARCH) -> dict[str, Any]:
        found: dict[str, Any] = (await self.raw("search", "offers", query))[0]
        return found

    async def rent(self, *more: str) -> str:
        offer = await self.offer()
        made = await self.raw("create", "instance", str(offer["id"]), "--image", "an/image", *more)
        return str(made["new_contract"])

    async def status(self, instance: str) -> str:
        return str((await self.raw("show", "instance", instance))["actual_status"])

    def fail(self, kind: FaultKind, operation: Operation, **how: Any) -> None:
        self.world.add_faults([Fault(kind, operation, **how)])


@pytest.fixture(scope="module")
def cli(vast_client: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """The client reads where the cloud is when it is loaded, so each test serves on one port."""
    listening = listener()
    pointers = vast.pointers(address(listening), KEY)
    env = environment(tmp_path_factory.mktemp("vastai"), pointers)
    loaded = CommandLine(vast_client, "vastai", ENTRY, env, listening)
    yield loaded
    loaded.close()


@pytest.fixture
async def bench(cli: CommandLine, tmp_path: Path, seed: int) -> AsyncIterator[Bench]:
    launcher = Processes(tmp_path / "machines", {})
    world = vast.make_world(SystemClock(), random.Random(seed), launcher)
    world.rules = replace(AT_ONCE, balance_nano=100 * NANO, gpu_billed=RULES.gpu_billed)
    async with served(vast.make_app(world, api_key=KEY), cli.listening) as url:
        yield Bench(world, url, cli)
    launcher.close()


async def test_the_search_language(bench: Bench) -> None:
    found = await bench.raw("search", "offers", SEARCH, "--limit", "5", "-o", "dph_total")
    assert [row["gpu_name"] for row in found] == ["RTX 4090"] * 3
    assert [row["dph_base"] for row in found] == [0.31, 0.35, 0.39]
    bids = await bench.raw(
        "search", "offers", "gpu_name in [RTX_4090,RTX_3090] geolocation=US", "--type", "bid"
    )
    assert bids
    assert all(row["is_bid"] and row["geolocation"].endswith("US") for row in bids)
    assert await bench.raw("search", "offers", "gpu_ram>200 verified=any") == []
    many = await bench.raw("search", "offers", "num_gpus>=4 gpu_name!=H200", "--new")
    assert {row["num_gpus"] for row in many} == {4, 8}
    table = await bench.cli.good("search", "offers", SEARCH)
    assert "RTX_4090" in table


async def test_from_rent_to_end(bench: Bench) -> None:
    cli = bench.cli
    more = ("--disk", "20", "--label", "lbl", "--env", "-e A=b -p 8000:8000", "--ssh", "--direct")
    instance = await bench.rent(*more, "--onstart-cmd", "echo hi $A; echo $CONTAINER_ID")
    (row,) = await bench.raw("show", "instances")
    assert (row["label"], row["actual_status"], row["extra_env"]["A"]) == ("lbl", "running", "b")

    async def logs() -> bool:
        return f"hi b\n{instance}" in await cli.good("logs", instance, "--tail", "10")

    await until(logs, 60, every=0.2)
    assert "ssh://root@127.0.0.1:" in await cli.good("ssh-url", instance)
    assert "newlabel" in await cli.good("label", "instance", instance, "newlabel")
    assert "newlabel" in await cli.good("show", "instances", "--cols", "id,label,status")
    for verb in ("stop", "start", "reboot", "recycle"):
        assert f"ing instance {instance}" in (await cli.good(verb, "instance", instance)).lower()
    assert await bench.status(instance) == "running"
    assert "destroying" in await cli.good("destroy", "instance", instance, "-y")
    assert await bench.raw("show", "instances") == []
    assert bench.world.alive() == []


async def test_what_it_costs_and_who_pays(bench: Bench) -> None:
    user = await bench.raw("show", "user")
    assert (user["credit"], user["balance"], "api_key" in user) == (100.0, 0.0, False)
    instance = await bench.rent()
    assert "success" in await bench.cli.good("show", "deposit", instance)
    assert "prepaid for" in await bench.cli.good("prepay", "instance", instance, "5")
    assert "411" in (await bench.cli("prepay", "instance", instance, "5000")).err
    assert instance in await bench.cli.good("show", "invoices-v1", "--charges", "--no-color")


async def test_several_at_once_and_the_best_of_a_search(bench: Bench) -> None:
    offers = await bench.raw("search", "offers", "gpu_name=H200")
    ids = [str(row["id"]) for row in offers if row["num_gpus"] < 4]
    await bench.cli.good("create", "instances", *ids, "--image", "an/image")
    made = (await bench.cli.good("show", "instances", "-q")).split()
    assert len(made) == len(ids) == 2
    for verb in ("stop", "start", "destroy"):
        yes = ["-y"] if verb == "destroy" else []
        await bench.cli.good(verb, "instances", *made, *yes)
    assert bench.world.alive() == []
    launched = await bench.cli.good(
        "launch", "instance", "-g", "RTX_5090", "-n", "1", "-i", "an/image", "-d", "16"
    )
    assert "launched successfully" in launched


async def test_bids_and_being_outbid(bench: Bench) -> None:
    instance = await bench.rent("--bid_price", "0.2")
    (machine,) = bench.world.alive()
    bench.world.set_stock(replace(machine.stock, bid_nano=250_000_000))
    row = await bench.raw("show", "instance", instance)
    assert {row["cur_state"], row["intended_status"], row["next_state"]} == {"stopped"}
    assert row["is_bid"] is True
    await bench.cli.good("change", "bid", instance, "--price", "0.3")
    machine.stock = bench.world.stocks[machine.stock.key]
    assert await bench.status(instance) == "running"
    offer = await bench.offer()
    low = await bench.cli(
        "create", "instance", str(offer["id"]), "--image", "an/image", "--bid_price", "0.01"
    )
    assert "Failed with error 400" in low.err
    assert [one.state for one in bench.world.alive()] == [State.RUNNING, State.INTERRUPTED]


async def test_keys_of_the_account_and_of_an_instance(bench: Bench) -> None:
    cli = bench.cli
    instance = await bench.rent()
    assert "'public_key': 'ssh-ed25519 AAAA x'" in await cli.good("create", "ssh-key", SSH_KEY)
    (key,) = await bench.raw("show", "ssh-keys")
    assert key["key"] == SSH_KEY
    await cli.good("update", "ssh-key", str(key["id"]), SSH_KEY + "2")
    assert (await bench.raw("show", "ssh-keys"))[0]["key"].endswith("x2")
    await cli.good("attach", "ssh", instance, SSH_KEY)
    (machine,) = bench.world.alive()
    (attached,) = machine.details["ssh_keys"]
    await cli.good("detach", "ssh", instance, str(attached["id"]))
    assert machine.details["ssh_keys"] == []
    await cli.good("delete", "ssh-key", str(key["id"]))
    assert await bench.raw("show", "ssh-keys") == []


async def test_volumes(bench: Bench) -> None:
    offers = await bench.raw("search", "volumes", "disk_space>50")
    made = await bench.cli.good("create", "volume", str(offers[0]["id"]), "-s", "20", "-n", "v")
    assert "Created" in made or "success" in made.lower()
    (volume,) = await bench.raw("show", "volumes")
    assert (volume["label"], volume["disk_space"]) == ("v", 20)
    await bench.cli.good("delete", "volume", str(volume["id"]))
    assert await bench.raw("show", "volumes") == []


async def test_more_instances_than_a_page_holds(bench: Bench) -> None:
    stock = replace(bench.world.stocks["10001"], key="large", capacity=60)
    bench.world.set_stock(stock)
    for count in range(60):
        bench.world.create(Rental("large", tag=f"label-{count % 2}"))
    assert len(await bench.raw("show", "instances")) == 60
    page = await bench.raw("show", "instances", "--limit", "25")
    assert (len(page["instances"]), page["total_instances"]) == (25, 60)
    rest = await bench.raw("show", "instances", "--limit", "25", "-t", page["next_token"])
    assert page["instances"][-1]["id"] < rest["instances"][0]["id"]
    assert len(await bench.raw("show", "instances", "--label", "label-1")) == 30


async def test_refusals_are_told_as_the_client_knows_them(bench: Bench) -> None:
    cli = bench.cli
    assert "404: Invalid user key" in (await cli("show", "user", "--api-key", "bad")).err
    gone = await cli("create", "instance", "77", "--image", "an/image", "--cancel-unavail")
    assert "Failed with error 404" in gone.err
    assert "Failed with error 404" in (await cli("destroy", "instance", "77", "-y")).err
    assert "not found" in (await cli("show", "instance", "77")).err
    bench.fail(FaultKind.NO_CAPACITY, Operation.CREATE)
    offer = await bench.offer()
    args = ("create", "instance", str(offer["id"]), "--image", "an/image", "--cancel-unavail")
    bench.world.set_stock(replace(bench.world.stocks[str(offer["machine_id"])], capacity=0))
    assert "Failed with error 410" in (await cli(*args)).err
    bench.fail(FaultKind.HTML, Operation.LIST, status=502, next=3)
    assert "Failed with error 502" in (await cli("show", "instances", "-q")).err


async def test_too_many_calls(bench: Bench) -> None:
    """The client asks three times, and not again when the day's searches are spent."""
    bench.fail(FaultKind.THROTTLED, Operation.LIST, next=0)
    assert "Failed with error 429" in (await bench.cli("show", "instances", "-q")).err
    assert bench.world.calls[Operation.LIST] == 3
    app = vast.make_app(bench.world, api_key=KEY, searches_per_day=0)
    with listener() as another:
        async with served(app, another) as url:
            said = await bench.cli("search", "offers", "--url", url)
    assert "Daily search quota exceeded. Resets at" in said.err
    assert bench.world.calls[Operation.OFFERS] == 1


async def test_the_least_interval_between_calls_is_kept(bench: Bench, clock: ManualClock) -> None:
    """By a clock that stands: the client itself takes longer than the interval now and then."""
    world = vast.make_world(clock, random.Random(1))
    world.rules = replace(bench.world.rules, rate_limits=True)
    with listener() as another:
        async with served(vast.make_app(world, api_key=KEY), another) as url:
            offer = (await bench.raw("search", "offers", SEARCH, "--url", url))[0]
            args = ("create", "instance", str(offer["id"]), "--image", "an/image", "--url", url)
            assert (await bench.cli(*args)).code == 0
            refused = await bench.cli(*args)
    assert "Failed with error 429: (no detail message supplied)" in refused.err
    assert len(world.alive()) == 1


async def test_the_library_and_the_command_itself(bench: Bench) -> None:
    """``execute`` of the command line fails on its own; its library does not."""
    code = """
import json, sys
from vastai import VastAI
sdk = VastAI(api_key=sys.argv[1], server_url=sys.argv[2])
offer = sdk.search_offers(query="gpu_name=RTX_5090")[0]
made = sdk.create_instance(id=offer["id"], image="an/image", label="sdk")["new_contract"]
ran = sdk.execute(id=made, command="ls -l")
print(json.dumps([ran, [row["label"] for row in sdk.show_instances()]]))
sdk.destroy_instance(id=made)
"""
    out = await run(bench.cli.python, code, bench.cli.env, KEY, bench.url)
    ran, labels = json.loads(out.strip().splitlines()[-1])
    assert "ls -l" in ran
    assert labels == ["sdk"]
    command = str(bench.cli.python.parent / "vastai")
    asked = subprocess.run(
        [command, "--version"], env=bench.cli.env, capture_output=True, check=True
    )
    assert asked.stdout.strip() == b"1.9.1"
