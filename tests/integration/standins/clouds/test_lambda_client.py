"""The stand-in for Lambda, judged by a client that was generated from Lambda's own description
and refuses any field that is not as described; nobody has touched it."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kernel.clock import SystemClock
from standins.clouds import lambda_
from standins.clouds.boot import Processes
from standins.clouds.faults import Fault, FaultKind, Operation
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

pytestmark = pytest.mark.feature("B3")
KEY = "lambda-key"
ENTRY = ("lambda_ai_cloud_api_client.__main__", "main", "rich.table")
START = ("start", "--instance-type", "gpu_1x_a10", "--region", "us-west-1", "--ssh-key", "k")
CALLS = """
import importlib, json, sys
from lambda_ai_cloud_api_client import AuthenticatedClient, models
pointed = {"base_url": sys.argv[2], "raise_on_unexpected_status": True}
client = AuthenticatedClient(token=sys.argv[1], **pointed)

def call(path, *given, **named):
    module = importlib.import_module("lambda_ai_cloud_api_client.api." + path)
    answer = module.sync_detailed(*given, client=client, **named)
    return answer.parsed

def told(parsed):
    return parsed.to_dict()
"""


@dataclass
class Bench:
    """The emulated cloud, its address, and the client pointed at it."""

    world: World
    url: str
    cli: CommandLine

    async def library(self, code: str) -> Any:
        """What the last line of a script prints, as JSON."""
        out = await run(self.cli.python, CALLS + code, self.cli.env, KEY, self.url)
        return json.loads(out.strip().splitlines()[-1])

    def fail(self, kind: FaultKind, operation: Operation, **how: Any) -> None:
        self.world.add_faults([Fault(kind, operation, **how)])


@pytest.fixture(scope="module")
def cli(lambda_client: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """The client reads where the cloud is when it is loaded, so each test serves on one port."""
    listening = listener()
    pointers = lambda_.pointers(address(listening), KEY)
    env = environment(tmp_path_factory.mktemp("lai"), pointers)
    loaded = CommandLine(lambda_client, "lai", ENTRY, env, listening)
    yield loaded
    loaded.close()


@pytest.fixture
async def bench(cli: CommandLine, tmp_path: Path, seed: int) -> AsyncIterator[Bench]:
    launcher = Processes(tmp_path / "machines", {})
    world = lambda_.make_world(SystemClock(), random.Random(seed), launcher)
    world.rules = AT_ONCE
    async with served(lambda_.make_app(world, api_key=KEY), cli.listening) as url:
        yield Bench(world, url, cli)
    launcher.close()


async def test_every_call_of_an_instance_s_life_can_be_parsed(bench: Bench) -> None:
    kinds = await bench.library("""
key = models.AddSSHKeyRequest(name="k")
body = models.InstanceLaunchRequest(
    region_name=models.PublicRegionCode.US_WEST_1, instance_type_name="gpu_1x_a10",
    ssh_key_names=["k"], name="x", hostname="host", user_data="#!/bin/sh\\nsleep 60",
    tags=[models.RequestedTagEntry(key="a", value="b")])
types = told(call("instances.list_instance_types"))["data"]
made = told(call("ssh_keys.add_ssh_key", body=key))["data"]
ids = told(call("instances.launch_instance", body=body))["data"]["instance_ids"]
listed = told(call("instances.list_instances"))["data"]
one = told(call("instances.get_instance", ids[0]))["data"]
named = told(call("instances.post_instance", ids[0],
    body=models.InstanceModificationRequest(name="y")))["data"]
again = told(call("instances.restart_instance",
    body=models.InstanceRestartRequest(instance_ids=ids)))["data"]["restarted_instances"]
ended = told(call("instances.terminate_instance",
    body=models.InstanceTerminateRequest(instance_ids=ids)))["data"]["terminated_instances"]
print(json.dumps([types["gpu_1x_a10"], sorted(made), listed, one, named["name"],
    [row["id"] for row in again], [row["status"] for row in ended]]))
""")
    kind, key, listed, one, name, again, ended = kinds
    assert kind["instance_type"]["price_cents_per_hour"] == 75
    assert [one["name"] for one in kind["regions_with_capacity_available"]] == [
        "us-west-1",
        "us-east-1",
    ]
    assert "private_key" in key
    assert [row["id"] for row in listed] == [one["id"]] == again
    assert (one["status"], one["hostname"], one["tags"][0]["key"]) == ("active", "host", "a")
    assert (one["ip"], one["instance_type"]["specs"]["gpus"]) == ("127.0.0.1", 1)
    assert (name, ended) == ("y", ["terminating"])


async def test_the_account_s_other_calls_can_be_parsed(bench: Bench) -> None:
    found = await bench.library("""
region = models.PublicRegionCode.US_WEST_1
key = told(call("ssh_keys.add_ssh_key",
    body=models.AddSSHKeyRequest(name="own", public_key="ssh-ed25519 AAAA x")))["data"]
keys = told(call("ssh_keys.list_ssh_keys"))["data"]
gone = call("ssh_keys.delete_ssh_key", key["id"])
disk = told(call("filesystems.create_filesystem",
    body=models.FilesystemCreateRequest(name="f", region=region)))["data"]
disks = told(call("filesystems.list_filesystems"))["data"]
deleted = told(call("filesystems.filesystem_delete", disk["id"]))["data"]["deleted_ids"]
images = told(call("images.list_images"))["data"]
rule = models.FirewallRule(protocol=models.NetworkProtocol.TCP, source_network="0.0.0.0/0",
    description="ssh", port_range=[22, 22])
rules = told(call("firewalls.firewall_rules_set",
    body=models.FirewallRulesPutRequest(data=[rule])))["data"]
shown = told(call("firewalls.firewall_rules_list"))["data"]
ruleset = told(call("firewalls.create_firewall_ruleset",
    body=models.FirewallRulesetCreateRequest(name="r", region=region, rules=[rule])))["data"]
sets = told(call("firewalls.firewall_rulesets_list"))["data"]
whole = told(call("firewalls.get_global_firewall_ruleset"))["data"]
changed = told(call("firewalls.update_firewall_ruleset", ruleset["id"],
    body=models.FirewallRulesetPatchRequest(name="s")))["data"]["name"]
call("firewalls.delete_firewall_ruleset", ruleset["id"])
events = told(call("audit_events.get_audit_events"))["data"]
print(json.dumps([keys[0]["name"], disks[0]["name"], deleted == [disk["id"]], len(images) > 0,
    shown == rules, len(sets), whole["id"], changed, events["page_token"]]))
""")
    assert found == ["own", "f", True, True, True, 1, "global", "s", None]


async def test_each_refusal_has_its_class(bench: Bench) -> None:
    bench.world.set_stock(replace(bench.world.stocks["gpu_1x_a10@us-west-1"], capacity=0))
    found = await bench.library("""
def launch(kind="gpu_1x_a10", keys=("k",), region="us-west-1", **more):
    body = models.InstanceLaunchRequest(region_name=models.PublicRegionCode(region),
        instance_type_name=kind, ssh_key_names=list(keys), **more)
    return type(call("instances.launch_instance", body=body).error).__name__
key = models.AddSSHKeyRequest(name="k")
disk = models.FilesystemCreateRequest(name="f", region=models.PublicRegionCode.US_WEST_1)
call("ssh_keys.add_ssh_key", body=key)
seen = [launch(), launch(kind="gpu_9x_none"), launch(keys=[]), launch(keys=["k", "l"]),
    launch(keys=["nobody"]), launch(name="n" * 65),
    launch(region="europe-central-1"),
    type(call("ssh_keys.add_ssh_key", body=key).error).__name__,
    type([call("filesystems.create_filesystem", body=disk) for _ in range(2)][1].error).__name__,
    type(call("instances.get_instance", "0" * 32).error).__name__,
    type(call("instances.terminate_instance",
        body=models.InstanceTerminateRequest(instance_ids=["0" * 32])).error).__name__]
client = AuthenticatedClient(token="another", **pointed)
seen.append(type(call("instances.list_instances").error).__name__)
print(json.dumps(seen))
""")
    assert found == [
        "ApiErrorInsufficientCapacity",
        "ApiErrorLaunchResourceNotFound",
        "ApiErrorInvalidParameters",
        "ApiErrorInvalidParameters",
        "ApiErrorLaunchResourceNotFound",
        "ApiErrorInvalidParameters",
        "ApiErrorInsufficientCapacity",
        "ApiErrorInvalidParameters",
        "ApiErrorDuplicate",
        "ApiErrorInstanceNotFound",
        "ApiErrorInstanceNotFound",
        "ApiErrorUnauthorized",
    ]
    assert bench.world.alive() == []


async def test_the_command_line_from_start_to_stop(bench: Bench, tmp_path: Path) -> None:
    cli = bench.cli
    assert "gpu_8x_h100_sxm5" in await cli.good("types", "--available")
    assert "lambda-stack-24-04" in await cli.good("images")
    await bench.library("""
call("ssh_keys.add_ssh_key", body=models.AddSSHKeyRequest(name="k")); print(1)""")
    assert " k " in await cli.good("keys")
    script = tmp_path / "cloud.yaml"
    script.write_text(
        "#cloud-config\n"
        "write_files:\n- path: /opt/own/greet.sh\n  permissions: '0755'\n"
        "  content: |\n    echo greeted > there.txt\n"
        "runcmd:\n- [sh, /opt/own/greet.sh]\n- echo done >> there.txt\n"
    )
    started = await cli.good(*START, "--name", "x", "--user-data-file", str(script))
    assert started
    (machine,) = bench.world.alive()
    written = tmp_path / "machines" / machine.machine_id / "there.txt"
    bench.world.advance()
    await until(lambda: written.exists() and written.read_text() == "greeted\ndone\n")
    assert machine.machine_id in await cli.good("ls")
    assert "active" in await cli.good("get", "x")
    await cli.good("rename", machine.machine_id, "z")
    await cli.good("restart", "z")
    await cli.good("stop", "z")
    assert bench.world.alive() == []


async def test_a_name_is_absent_until_it_is_set_and_is_used_once(bench: Bench) -> None:
    seen = await bench.library("""
call("ssh_keys.add_ssh_key", body=models.AddSSHKeyRequest(name="k"))
def launch(**more):
    return call("instances.launch_instance", body=models.InstanceLaunchRequest(
        region_name=models.PublicRegionCode.US_WEST_1, instance_type_name="gpu_1x_a10",
        ssh_key_names=["k"], **more))
launch(); launch(name="once")
second = type(launch(name="once").error).__name__
rows = told(call("instances.list_instances"))["data"]
print(json.dumps([second, ["name" in row for row in rows]]))
""")
    assert seen == ["ApiErrorInvalidParameters", [False, True]]
