"""The Lambda stand-in: late capacity, one key, one name, its limits, by a clock moved by hand."""

from __future__ import annotations

import base64
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from kernel.clock import ManualClock
from standins.clouds import lambda_
from standins.clouds.faults import Fault, FaultKind
from standins.clouds.lambda_.cloud_init import program_of
from standins.clouds.refusals import Refused
from standins.clouds.shell import Answer, Request

pytestmark = pytest.mark.feature("B3")
KEY = "k"
LAUNCH = {
    "region_name": "us-west-1",
    "instance_type_name": "gpu_1x_a10",
    "ssh_key_names": ["own"],
}
STOCK = "gpu_1x_a10@us-west-1"


class Desk:
    """The stand-in without a wire, with one SSH key in the account."""

    def __init__(self, *, rate_limits: bool = False) -> None:
        self.clock = ManualClock()
        self.world = lambda_.make_world(self.clock, random.Random(1))
        rules = replace(self.world.rules, listing_lag_seconds=0.0, rate_limits=False)
        self.world.rules = rules
        self.shell = lambda_.make_app(self.world, api_key=KEY).shell
        self.told("POST", "ssh-keys", {"name": "own"})
        self.world.rules = replace(rules, rate_limits=rate_limits)

    def ask(
        self, method: str, path: str, body: object = None, authorization: str = f"Bearer {KEY}"
    ) -> Answer:
        raw = b"" if body is None else json.dumps(body).encode()
        headers = {"authorization": authorization}
        answer = self.shell.respond(Request(method, f"/api/v1/{path}", {}, headers, raw)).answer
        assert answer is not None
        return answer

    def told(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        answer = self.ask(method, path, body)
        return answer.status, json.loads(answer.body)

    def launch(self, **more: object) -> tuple[int, Any]:
        return self.told("POST", "instance-operations/launch", LAUNCH | more)

    def rent(self, **more: object) -> str:
        status, made = self.launch(**more)
        assert status == 200, made
        return str(made["data"]["instance_ids"][0])

    def status(self, instance: str) -> str:
        found = self.told("GET", f"instances/{instance}")[1]
        return str(found["data"]["status"] if "data" in found else found["error"]["code"])

    def regions(self, kind: str = "gpu_1x_a10") -> list[str]:
        types = self.told("GET", "instance-types")[1]["data"]
        return [one["name"] for one in types[kind]["regions_with_capacity_available"]]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_instance_lives_from_booting_to_unknown(desk: Desk) -> None:
    instance = desk.rent(name="mine")
    seen = [desk.status(instance)]
    desk.clock.advance(3)
    seen.append(desk.status(instance))
    body = {"instance_ids": [instance]}
    assert desk.told("POST", "instance-operations/terminate", body)[0] == 200
    seen.append(desk.status(instance))
    desk.clock.advance(1)
    seen.append(desk.status(instance))
    desk.clock.advance(5)
    seen.append(desk.status(instance))
    assert seen == [
        "booting",
        "active",
        "terminating",
        "terminated",
        "global/object-does-not-exist",
    ]
    assert desk.told("POST", "instance-operations/terminate", body)[0] == 404


def test_one_unknown_id_ends_nothing(desk: Desk) -> None:
    instance = desk.rent()
    body = {"instance_ids": [instance, "0" * 32]}
    assert desk.told("POST", "instance-operations/terminate", body)[0] == 404
    assert desk.status(instance) == "booting"


def test_capacity_is_told_late(desk: Desk) -> None:
    assert desk.regions() == ["us-west-1", "us-east-1"]
    desk.world.set_stock(replace(desk.world.stocks[STOCK], capacity=0))
    assert desk.regions() == ["us-west-1", "us-east-1"]
    status, said = desk.launch()
    assert (status, said["error"]["code"]) == (
        400,
        "instance-operations/launch/insufficient-capacity",
    )
    desk.clock.advance(2)
    assert desk.regions() == ["us-east-1"]
    assert desk.regions("gpu_8x_b200_sxm6") == []


def test_a_price_is_cents_for_the_whole(desk: Desk) -> None:
    types = desk.told("GET", "instance-types")[1]["data"]
    kind = types["gpu_8x_h100_sxm5"]["instance_type"]
    assert (kind["price_cents_per_hour"], kind["specs"]["gpus"]) == (3192, 8)
    desk.world.add_faults([Fault(FaultKind.PRICE, price_nano=-1_000_000_000)])
    types = desk.told("GET", "instance-types")[1]["data"]
    assert types["gpu_8x_h100_sxm5"]["instance_type"]["price_cents_per_hour"] == -800


@pytest.mark.parametrize(
    ("odd", "status"),
    [
        ({"ssh_key_names": []}, 400),
        ({"ssh_key_names": ["own", "own"]}, 400),
        ({"ssh_key_names": ["nobody's"]}, 404),
        ({"region_name": "mars-1"}, 400),
        ({"region_name": "europe-central-1"}, 400),
        ({"instance_type_name": "gpu_9x_none"}, 404),
        ({"name": "n" * 65}, 400),
        ({"user_data": "x" * 1_000_001}, 400),
        ({"file_system_names": ["nowhere"]}, 404),
    ],
)
def test_a_launch_that_breaks_a_rule_makes_nothing(
    desk: Desk, odd: dict[str, object], status: int
) -> None:
    assert desk.launch(**odd)[0] == status
    assert desk.world.alive() == []


def test_a_name_is_used_by_one_instance_alone(desk: Desk) -> None:
    first = desk.rent(name="once")
    assert desk.launch(name="once")[0] == 400
    other = desk.rent()
    assert desk.told("POST", f"instances/{other}", {"name": "once"})[0] == 400
    assert desk.told("POST", f"instances/{first}", {"name": "twice"})[1]["data"]["name"] == "twice"
    assert "name" not in desk.told("GET", f"instances/{other}")[1]["data"]


def test_a_private_key_is_told_once(desk: Desk) -> None:
    made = desk.told("POST", "ssh-keys", {"name": "new"})[1]["data"]
    assert "private_key" in made
    keys = desk.told("GET", "ssh-keys")[1]["data"]
    assert [sorted(one) for one in keys] == [["id", "name", "public_key"]] * 2


def test_a_filesystem_binds_a_launch_to_its_region(desk: Desk) -> None:
    desk.told("POST", "filesystems", {"name": "f", "region": "us-east-1"})
    status, said = desk.launch(file_system_names=["f"])
    assert said["error"]["code"] == "instance-operations/launch/file-system-in-wrong-region"
    desk.rent(region_name="us-east-1", file_system_names=["f"])
    (disk,) = desk.told("GET", "file-systems")[1]["data"]
    assert (status, disk["is_in_use"]) == (400, True)
    assert desk.told("DELETE", f"filesystems/{disk['id']}")[0] == 400


def test_a_key_is_a_bearer_or_a_users_name(desk: Desk) -> None:
    packed = base64.b64encode(f"{KEY}:".encode()).decode()
    assert desk.ask("GET", "instances", authorization=f"Basic {packed}").status == 200
    for bad in ("Bearer other", "Basic !!", ""):
        assert desk.ask("GET", "instances", authorization=bad).status == 401


def test_calls_and_launches_are_counted_apart() -> None:
    desk = Desk(rate_limits=True)
    first = desk.rent()
    refused = desk.ask("POST", "instance-operations/launch", LAUNCH)
    assert (refused.status, refused.content_type.partition(";")[0]) == (429, "text/plain")
    assert desk.status(first) == "booting", "a launch that is turned away counts as no call"
    assert [desk.ask("GET", "instances").status for _ in range(4)] == [200, 200, 200, 429]
    desk.clock.advance(12)
    assert desk.launch()[0] == 200
    assert len(desk.world.alive()) == 2


def test_user_data_is_what_runs(desk: Desk) -> None:
    desk.rent(user_data="#!/bin/sh\necho hi")
    (machine,) = desk.world.alive()
    assert machine.rental.program is not None
    assert machine.rental.program.ends_machine is False
    config = (
        "#cloud-config\nwrite_files: [{path: /etc/own, content: 'a'}]\nruncmd: [[cat, /etc/own]]"
    )
    program = program_of(config)
    assert program is not None
    assert program.argv[-1].splitlines() == [
        "mkdir -p ./disk/etc",
        "printf '%s' a > ./disk/etc/own",
        "cat ./disk/etc/own",
    ]
    for bad in ("echo hi", "#cloud-config\n[", "#cloud-config\n- a"):
        with pytest.raises(Refused):
            program_of(bad)


def test_after_a_restart_user_data_does_not_run_again(desk: Desk) -> None:
    instance = desk.rent(user_data="#!/bin/sh\nsleep 9")
    body = {"instance_ids": [instance]}
    assert desk.told("POST", "instance-operations/restart", body)[0] == 400
    desk.clock.advance(3)
    assert desk.status(instance) == "active"
    assert desk.told("POST", "instance-operations/restart", body)[0] == 200
    assert desk.world.alive()[0].rental.program is None
