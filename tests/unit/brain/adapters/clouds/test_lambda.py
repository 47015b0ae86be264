"""Lambda's types, instances, orders and refusals, put into our words."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from brain.adapters.clouds.http import Answer
from brain.adapters.clouds.lambda_ import LambdaCloud
from brain.adapters.clouds.lambda_.machines import endpoints_of, machine_of
from brain.adapters.clouds.lambda_.offers import offers_of, place_of
from brain.adapters.clouds.lambda_.orders import key_name_of, order_body, user_data_of
from brain.adapters.clouds.lambda_.refusals import judge
from brain.clouds import (
    Boot,
    Broke,
    CloudOffer,
    CloudRefused,
    CredentialsRefused,
    Endpoint,
    MachineMissing,
    MachineState,
    NothingFree,
    Order,
    OutcomeUnknown,
    Unreadable,
)
from kernel.clock import ManualClock
from standins.clouds.lambda_.cloud_init import program_of

pytestmark = pytest.mark.feature("B3")
TAG = "gng-abcdef012345-00112233445566778899aabbccddeeff-1"
KIND: dict[str, Any] = {
    "name": "gpu_8x_h100_sxm5",
    "description": "8x H100 (80 GB SXM5)",
    "gpu_description": "H100 (80 GB SXM5)",
    "price_cents_per_hour": 2999,
    "specs": {"vcpus": 208, "memory_gib": 1800, "storage_gib": 22528, "gpus": 8},
}
REGION = {"name": "us-south-2", "description": "North Texas, USA"}
TYPES = {"x": {"instance_type": KIND, "regions_with_capacity_available": [REGION]}}
ROW: dict[str, Any] = {
    "id": "0920582c7ff041399e34823a0be62549",
    "name": TAG,
    "status": "active",
    "ip": "198.51.100.2",
    "region": REGION,
    "instance_type": KIND,
}
OFFER = CloudOffer("lambda", "gpu_1x_a10@us-west-1", "A10", 1, 23028, 750_000_000, "us-west-1")


def order(**more: Any) -> Order:
    return Order(**{"tag": TAG, "offer": OFFER, "boot": Boot("echo up\n"), **more})


# --- offers -------------------------------------------------------------------------------------


@pytest.mark.feature("B5")
def test_cents_for_the_whole_are_nano_dollars_for_each_gpu() -> None:
    (offer,) = offers_of(TYPES)
    assert (offer.gpu_name, offer.gpus, offer.vram_mib) == ("H100 SXM", 8, 81_559)
    assert offer.price_nano == 3_748_750_000
    assert (offer.region, offer.secure, offer.spot) == ("us-south-2", True, False)
    assert (offer.disk_gib_included, offer.disk_gib_max) == (22_528, 22_528)
    assert place_of(offer.key) == ("gpu_8x_h100_sxm5", "us-south-2")


@pytest.mark.parametrize(
    "odd",
    [
        {"price_cents_per_hour": -100},
        {"price_cents_per_hour": 0},
        {"price_cents_per_hour": None},
        {"price_cents_per_hour": 10**9},
        {"specs": {"vcpus": 4, "gpus": 0}},
        {"specs": None},
        {"name": ""},
    ],
)
def test_what_cannot_be_true_or_has_no_gpu_is_no_offer(odd: dict[str, object]) -> None:
    regions = [REGION]
    types = {"y": {"instance_type": KIND | odd, "regions_with_capacity_available": regions}}
    assert offers_of(types | TYPES) == offers_of(TYPES)


def test_a_type_without_capacity_is_no_offer() -> None:
    assert offers_of({"x": TYPES["x"] | {"regions_with_capacity_available": []}}) == []
    assert offers_of({"x": None, "y": {"instance_type": []}}) == []


# --- machines -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("booting", MachineState.STARTING),
        ("active", MachineState.RUNNING),
        ("unhealthy", MachineState.UNHEALTHY),
        ("preempted", MachineState.INTERRUPTED),
        ("terminating", MachineState.TERMINATING),
        ("terminated", MachineState.TERMINATED),
        ("a new word", MachineState.UNKNOWN),
    ],
)
def test_an_instance_is_a_machine(status: str, state: MachineState) -> None:
    machine = machine_of(ROW | {"status": status})
    assert machine is not None
    assert (machine.state, machine.tag, machine.said) == (state, TAG, status)
    assert (machine.gpu_name, machine.gpus, machine.region) == ("H100 SXM", 8, "us-south-2")
    assert machine.cost_nano_hour == 29_990_000_000


def test_a_name_may_be_absent_and_an_address_comes_late() -> None:
    bare = {name: value for name, value in ROW.items() if name not in {"name", "ip"}}
    machine = machine_of(bare)
    assert machine is not None
    assert machine.tag == ""
    assert endpoints_of(bare) == []
    assert endpoints_of(ROW) == [Endpoint(22, "198.51.100.2", 22, "ssh", "ubuntu")]
    assert machine_of({"name": TAG}) is None


# --- orders -------------------------------------------------------------------------------------


def test_an_order_names_one_key_of_the_installation() -> None:
    body = order_body(order())
    assert body["ssh_key_names"] == ["gng-abcdef012345"]
    assert (body["name"], len(str(body["name"])) <= 64) == (TAG, True)
    assert (body["instance_type_name"], body["region_name"]) == ("gpu_1x_a10", "us-west-1")
    assert key_name_of("another-tag") == "ganglion"


@pytest.mark.parametrize("image", ["", "docker.io/vllm/vllm-openai:v0.11.0"])
def test_user_data_runs_the_script_in_its_environment(image: str, tmp_path: Path) -> None:
    """As the machine's cloud-init and its Docker do, whether or not in a container."""
    boot = Boot('printf "%s|" "$A" "$B"', {"A": "it's $x `y`\n", "B": "é"}, image)
    program = program_of(user_data_of(order(boot=boot)))
    assert program is not None
    env = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(program.argv, env=env, capture_output=True, check=True)
    assert ran.stdout.decode() == "it's $x `y`\n|é|"


def test_no_command_line_shows_what_the_environment_holds() -> None:
    data = user_data_of(order(boot=Boot("true", {"JOIN_TOKEN": "T0ken"}, "an/image:1")))
    assert "export JOIN_TOKEN=T0ken" in data
    (line,) = [line for line in data.splitlines() if "docker run" in line]
    assert ("-e JOIN_TOKEN " in line, "T0ken" in line) == (True, False)


@pytest.mark.parametrize(("code", "runs"), [(3, 1), (125, 2)])
def test_docker_is_asked_again_when_it_is_docker_that_failed(
    tmp_path: Path, code: int, runs: int
) -> None:
    tool = tmp_path / "docker"
    tool.write_text(
        f"#!/bin/sh\necho run >> {tmp_path}/runs\n"
        f'[ "$(wc -l < {tmp_path}/runs)" -gt 1 ] || exit {code}\n'
    )
    tool.chmod(0o700)
    (tmp_path / "sleep").symlink_to("/bin/true")
    data = user_data_of(order(boot=Boot("true", {}, "an/image")))
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    subprocess.run(["/bin/sh", "-c", data], env=env, capture_output=True, check=True)
    assert (tmp_path / "runs").read_text().count("run") == runs


@pytest.mark.parametrize(
    "odd",
    [
        {"tag": "g" * 65},
        {"offer": replace(OFFER, key="384826:bid")},
        {"boot": Boot("true", {"A;rm": "x"})},
        {"boot": Boot("", {"A": "x" * 1_000_001})},
    ],
)
def test_what_the_cloud_would_not_take_is_not_sent(odd: dict[str, object]) -> None:
    with pytest.raises(CloudRefused):
        order_body(order(**odd))


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "instance-operations/launch/insufficient-capacity", NothingFree),
        (400, "instance-operations/launch/file-system-in-wrong-region", CloudRefused),
        (400, "global/invalid-parameters", CloudRefused),
        (400, "global/quota-exceeded", Broke),
        (400, "global/duplicate", OutcomeUnknown),
        (401, "global/invalid-api-key", CredentialsRefused),
        (403, "global/account-inactive", Broke),
        (403, "global/invalid-address", Broke),
        (404, "global/object-does-not-exist", MachineMissing),
        (400, "something/new", type(None)),
        (500, "global/internal-error", type(None)),
    ],
)
def test_a_code_is_what_to_do_next(status: int, code: str, kind: type) -> None:
    body = json.dumps({"error": {"code": code, "message": "TOKEN"}}).encode()
    wrong = judge(Answer("Lambda", status, httpx.Headers(), body))
    assert isinstance(wrong, kind)
    assert "TOKEN" not in str(wrong)


def test_a_name_that_is_taken_may_be_ours() -> None:
    error = {"code": "global/invalid-parameters", "message": "Name is already in use."}
    body = json.dumps({"error": error}).encode()
    assert isinstance(judge(Answer("Lambda", 400, httpx.Headers(), body)), OutcomeUnknown)


# --- calls --------------------------------------------------------------------------------------


def said(status: int, body: object) -> httpx.Response:
    return httpx.Response(status, stream=httpx.ByteStream(json.dumps(body).encode()))


Serve = Callable[[httpx.Request], httpx.Response]


def cloud(serve: Serve) -> LambdaCloud:
    class Clock(ManualClock):
        async def sleep(self, seconds: float) -> None:
            self.advance(seconds)

    return LambdaCloud(
        base_url="https://lambda.example",
        key="k",
        clock=Clock(),
        chance=random.Random(1),
        transport=httpx.MockTransport(serve),
    )


class Account:
    """A cloud with these SSH keys, which launches what it is asked for."""

    def __init__(self, *keys: str, faster: bool = False) -> None:
        self.keys, self.faster = list(keys), faster
        self.asked: list[tuple[str, str]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1/")
        self.asked.append((request.method, path))
        if path == "ssh-keys" and request.method == "POST":
            self.keys.append(json.loads(request.content)["name"])
            if self.faster:
                error = {"code": "global/invalid-parameters", "message": "double"}
                return said(400, {"error": error})
            return said(200, {"data": {"private_key": "secret"}})
        if path == "ssh-keys":
            keys = [{"id": "1", "name": name, "public_key": "x"} for name in self.keys]
            return said(200, {"data": keys})
        return said(200, {"data": {"instance_ids": ["a1"]}})


@pytest.mark.parametrize("faster", [False, True])
async def test_the_installations_key_is_made_once(faster: bool) -> None:
    account = Account("somebody's", faster=faster)
    made = cloud(account)
    for _ in range(2):
        assert (await made.create(order())).machine_id == "a1"
    assert account.keys == ["somebody's", "gng-abcdef012345"]
    assert account.asked.count(("POST", "ssh-keys")) == 1
    assert account.asked.count(("POST", "instance-operations/launch")) == 2


async def test_a_key_that_is_there_is_taken() -> None:
    account = Account("gng-abcdef012345")
    await cloud(account).create(order())
    assert ("POST", "ssh-keys") not in account.asked


async def test_what_a_launch_names_and_the_cloud_lacks_is_refused() -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return said(200, {"data": [{"name": "gng-abcdef012345"}]})
        error = {"code": "global/object-does-not-exist", "message": "x", "suggestion": "y"}
        return said(400, {"error": error})

    with pytest.raises(CloudRefused):
        await cloud(serve).create(order())


@pytest.mark.parametrize("data", [{}, {"instance_ids": []}, {"instance_ids": ["a", "b"]}, None])
async def test_a_launch_without_one_id_is_unreadable(data: object) -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        keys = [{"name": "gng-abcdef012345"}]
        return said(200, {"data": keys if request.method == "GET" else data})

    with pytest.raises(Unreadable):
        await cloud(serve).create(order())


async def test_a_row_that_cannot_be_read_makes_the_listing_incomplete() -> None:
    def serve(request: httpx.Request) -> httpx.Response:
        return said(200, {"data": [ROW, {"status": "active"}]})

    made = cloud(serve)
    listing = await made.listing()
    assert (listing.complete, len(listing.machines)) == (False, 1)
    with pytest.raises(Unreadable):
        await made.find_by_tag(TAG)
