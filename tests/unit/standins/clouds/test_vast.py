"""The Vast.ai stand-in: its odd shapes, its pages, its limits, all by a clock moved by hand."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from kernel.clock import ManualClock
from kernel.money import NANO
from standins.clouds import vast
from standins.clouds.faults import Fault, FaultKind
from standins.clouds.machine import Rental, State
from standins.clouds.shell import Answer, Request
from standins.clouds.stock import Stock

pytestmark = pytest.mark.feature("B2")
KEY = "k"
IMAGE = {"image": "an/image", "client_id": "me"}


class Desk:
    """The stand-in without a wire."""

    def __init__(self, *, rate_limits: bool = False, **options: Any) -> None:
        self.clock = ManualClock()
        self.world = vast.make_world(self.clock, random.Random(1))
        rules = replace(self.world.rules, listing_lag_seconds=0.0, rate_limits=rate_limits)
        self.world.rules = rules
        self.shell = vast.make_app(self.world, api_key=KEY, **options).shell

    def ask(self, method: str, target: str, body: object = None, key: str = KEY) -> Answer:
        path, _, query = target.partition("?")
        named = dict(one.split("=", 1) for one in query.split("&") if one)
        request = Request(
            method,
            path,
            {name: [value] for name, value in named.items()},
            {"authorization": f"Bearer {key}", "host": "vast.test"},
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode(),
        )
        answer = self.shell.respond(request).answer
        assert answer is not None
        return answer

    def told(self, method: str, target: str, body: object = None, **more: Any) -> tuple[int, Any]:
        answer = self.ask(method, target, body, **more)
        return answer.status, json.loads(answer.body)

    def ask_id(self, gpu: str = "RTX 4090", **query: object) -> int:
        wanted = {"gpu_name": {"eq": gpu}, **query}
        return int(self.told("POST", "/api/v0/bundles/", wanted)[1]["offers"][0]["id"])

    def rent(self, **more: object) -> int:
        status, made = self.told("PUT", f"/api/v0/asks/{self.ask_id()}/", IMAGE | more)
        assert status == 200, made
        return int(made["new_contract"])

    def row(self, instance: int) -> Any:
        return self.told("GET", f"/api/v0/instances/{instance}/")[1]["instances"]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_instance_lives_from_nothing_to_null(desk: Desk) -> None:
    instance = desk.rent(label="mine")
    seen = [desk.row(instance)["actual_status"]]
    for seconds in (0.4, 2):
        desk.clock.advance(seconds)
        seen.append(desk.row(instance)["actual_status"])
    assert seen == [None, "loading", "running"]
    assert desk.told("DELETE", f"/api/v0/instances/{instance}/", {})[1]["success"] is True
    assert desk.row(instance)["next_state"] == "unloaded"
    desk.clock.advance(2)
    assert desk.row(instance) is None
    assert desk.told("DELETE", f"/api/v0/instances/{instance}/", {})[0] == 404


def test_a_slash_at_the_end_changes_nothing(desk: Desk) -> None:
    for path in ("/api/v0/users/current", "/api/v1/instances", "/api/v0/ssh"):
        assert desk.ask("GET", path).body == desk.ask("GET", path + "/").body


def test_a_bad_key_is_told_like_a_missing_machine(desk: Desk) -> None:
    status, said = desk.told("GET", "/api/v0/instances/7/", key="another")
    assert (status, said["msg"]) == (404, "Invalid user key")
    named = desk.ask("GET", f"/api/v0/users/current?api_key={KEY}", key="")
    assert named.status == 200


def test_values_travel_as_text_and_places_by_country(desk: Desk) -> None:
    query = {
        "num_gpus": {"gte": "2", "lt": 8},
        "geolocation": {"in": ["SE", "JP"]},
        "verified": {"eq": "true"},
        "gpu_name": {"notin": ["H200"]},
        "order": [["dph_total", "desc"]],
    }
    rows = desk.told("POST", "/api/v0/bundles", query)[1]["offers"]
    assert [(row["gpu_name"], row["num_gpus"]) for row in rows] == [
        ("RTX 4090", 4),
        ("RTX 4090", 2),
    ]
    assert desk.told("POST", "/api/v0/bundles/", {"num_gpus": {"like": 1}})[0] == 400
    assert desk.told("POST", "/api/v0/bundles/", {"num_gpus": 1})[0] == 400


def test_the_disk_is_in_the_whole_price(desk: Desk) -> None:
    query = {"gpu_name": {"eq": "RTX 3060"}, "num_gpus": {"eq": 1}, "allocated_storage": 720.0}
    row = desk.told("POST", "/api/v0/bundles/", query)[1]["offers"][0]
    assert row["dph_total"] == pytest.approx(row["dph_base"] + row["storage_cost"])
    assert row["min_bid"] == 0.033


def test_an_ask_is_gone_when_its_gpus_are(desk: Desk) -> None:
    query = {"gpu_ram": {"gt": 0}, "geolocation": {"eq": "US"}, "num_gpus": {"eq": 1}}
    ask = desk.ask_id(**query)
    assert desk.told("PUT", f"/api/v0/asks/{ask}/", IMAGE)[0] == 200
    status, said = desk.told("PUT", f"/api/v0/asks/{ask}/", IMAGE)
    assert (status, said["error"]) == (404, "no_such_ask")
    gone = desk.told("PUT", f"/api/v0/asks/{ask}/", IMAGE | {"cancel_unavail": True})
    assert (gone[0], gone[1]["error"]) == (410, "no_such_ask")


@pytest.mark.parametrize(
    "odd",
    [
        {"image": ""},
        {"env": ["A=b"]},
        {"env": {"A": 1}},
        {"onstart": "x" * 4049},
        {"label": "x" * 1025},
        {"runtype": "vnc"},
        {"disk": "much"},
        {"price": 0.0001},
        {"args": "one text"},
    ],
)
def test_an_order_that_breaks_a_rule_makes_nothing(desk: Desk, odd: dict[str, object]) -> None:
    assert desk.told("PUT", f"/api/v0/asks/{desk.ask_id()}/", IMAGE | odd)[0] == 400
    assert desk.world.alive() == []


def test_a_bid_that_is_too_low_makes_a_contract_all_the_same(desk: Desk) -> None:
    status, said = desk.told("PUT", f"/api/v0/asks/{desk.ask_id()}/", IMAGE | {"price": 0.01})
    assert (status, said["success"]) == (400, False)
    row = desk.row(said["new_contract"])
    assert [row[name] for name in ("intended_status", "cur_state", "next_state")] == ["stopped"] * 3


def test_what_runs_is_what_the_run_type_says(desk: Desk) -> None:
    env = {"A": "b", "-p 8000:8000": "1"}
    desk.rent(runtype="ssh_direc ssh_proxy", onstart="echo hi", env=env)
    desk.rent(runtype="args", onstart="sh", args=["-c", "echo hi"], env=env)
    desk.rent(runtype="args", args_str="serve --port 1")
    programs = [machine.rental.program for machine in desk.world.alive()]
    assert [(one.argv, one.ends_machine) if one else None for one in programs] == [
        (("/bin/sh", "-c", "echo hi"), False),
        (("sh", "-c", "echo hi"), True),
        None,
    ]
    assert programs[0] is not None
    assert dict(programs[0].env) == {"A": "b"}


def test_pages_by_id_miss_nothing_that_was_there(desk: Desk) -> None:
    desk.world.set_stock(replace(desk.world.stocks["10001"], key="large", capacity=60))
    made = sorted(int(desk.world.create(Rental("large")).machine_id) for _ in range(60))
    order = '[{"col": "id", "dir": "asc"}]'
    first = desk.told("GET", f"/api/v1/instances/?limit=100&order_by={order}")[1]
    assert (len(first["instances"]), first["total_instances"]) == (25, 60)
    for gone in made[:10]:
        desk.world.terminate(str(gone))
    desk.clock.advance(5)
    after = f"&after_token={first['next_token']}"
    rest = desk.told("GET", f"/api/v1/instances/?order_by={order}{after}")[1]
    assert [row["id"] for row in rest["instances"]] == made[25:50]
    last = f"&after_token={rest['next_token']}"
    end = desk.told("GET", f"/api/v1/instances/?order_by={order}{last}")[1]
    assert ([row["id"] for row in end["instances"]], end["next_token"]) == (made[50:], None)
    assert desk.told("GET", "/api/v1/instances/?after_token=no")[0] == 400


def test_a_new_instance_may_be_missing_from_the_list() -> None:
    desk = Desk()
    desk.world.rules = replace(desk.world.rules, listing_lag_seconds=30.0)
    desk.rent()
    assert desk.told("GET", "/api/v1/instances/")[1]["instances"] == []
    desk.clock.advance(31)
    assert len(desk.told("GET", "/api/v1/instances/")[1]["instances"]) == 1


def test_a_least_interval_is_told_in_plain_text_and_without_a_time() -> None:
    desk = Desk(rate_limits=True)
    ask = desk.ask_id()
    assert desk.ask("PUT", f"/api/v0/asks/{ask}/", IMAGE).status == 200
    refused = desk.ask("PUT", f"/api/v0/asks/{ask}/", IMAGE)
    assert (refused.status, refused.content_type.partition(";")[0]) == (429, "text/plain")
    assert (b"threshold=4.5" in refused.body, refused.headers) == (True, ())
    desk.clock.advance(4.5)
    assert desk.ask("PUT", f"/api/v0/asks/{ask}/", IMAGE).status == 404


def test_a_days_searches_are_counted_to_midnight() -> None:
    desk = Desk(searches_per_day=2)
    answers = [desk.ask("POST", "/api/v0/bundles/", {}) for _ in range(3)]
    assert [one.status for one in answers] == [200, 200, 429]
    assert json.loads(answers[2].body)["error"] == "search_quota_exceeded"
    reset = int(dict(answers[2].headers)["x-ratelimit-reset"])
    left = reset - desk.clock.now_ns() // 1_000_000_000
    assert 0 < left <= 86_400
    desk.clock.advance(left)
    assert desk.ask("POST", "/api/v0/bundles/", {}).status == 200


def test_the_gpu_costs_while_it_runs_and_the_disk_until_the_end(desk: Desk) -> None:
    instance = desk.rent(disk=107.3741824)
    desk.clock.advance(10)
    desk.row(instance)
    desk.clock.advance(3600)
    running = desk.world.cost_nano(str(instance))
    desk.told("PUT", f"/api/v0/instances/{instance}/", {"state": "stopped"})
    desk.clock.advance(3600)
    assert desk.row(instance)["actual_status"] == "stopped"
    (machine,) = desk.world.alive()
    assert running > machine.gpu_rate_nano
    assert desk.world.cost_nano(str(instance)) - running == machine.rental.disk_gib * 150_000


def test_a_start_without_a_free_gpu_waits(desk: Desk) -> None:
    desk.world.set_stock(Stock("one", "Tiny", 1, NANO, gpus=1, region="Chile, CL"))
    ask = desk.ask_id("Tiny")
    first = desk.told("PUT", f"/api/v0/asks/{ask}/", IMAGE)[1]["new_contract"]
    desk.clock.advance(10)
    path = f"/api/v0/instances/{first}/"
    assert desk.told("PUT", path, {"state": "stopped"})[1]["success"] is True
    desk.told("PUT", f"/api/v0/asks/{ask}/", IMAGE)
    status, said = desk.told("PUT", path, {"state": "running"})
    assert (status, said["success"]) == (200, False)


def test_odd_shapes_of_keys_and_commands(desk: Desk) -> None:
    instance = desk.rent()
    path = f"/api/v0/instances/{instance}/ssh/"
    desk.told("POST", path, {"ssh_key": "ssh-ed25519 AAAA x"})
    listed = desk.told("GET", path)[1]["ssh_keys"]
    assert json.loads(listed)[0]["public_key"] == "ssh-ed25519 AAAA x"
    assert desk.told("GET", "/api/v0/ssh/")[1] == []
    command = f"/api/v0/instances/command/{instance}/"
    assert desk.told("PUT", command, b"{no json")[0] == 483
    assert desk.told("PUT", command, {"command": "cat /etc/passwd"})[0] == 400
    url = desk.told("PUT", command, {"command": "ls -l"})[1]["result_url"]
    result = desk.ask("GET", url.removeprefix("http://vast.test"), key="")
    assert result.body.startswith(b"ls -l")
    assert desk.ask("GET", "/results/none", key="").status == 404


def test_what_a_machine_is_told_by_is_complete_for_the_client(desk: Desk) -> None:
    """The client falls over a row without these."""
    machine = desk.world.create(Rental("10001", tag="bare"))
    row = desk.row(int(machine.machine_id))
    assert row["extra_env"] == []
    assert isinstance(row["start_date"], float)
    assert (row["label"], row["public_ipaddr"].endswith(" \n")) == ("bare", True)


def test_a_clock_that_is_off_is_off_in_every_time(desk: Desk) -> None:
    instance = desk.rent()
    desk.world.add_faults([Fault(FaultKind.CLOCK_OFF, next=1, seconds=-3600.0)])
    off = desk.row(instance)["start_date"]
    assert desk.row(instance)["start_date"] - off == 3600.0


def test_a_broken_image_is_told_by_its_message(desk: Desk) -> None:
    instance = desk.rent()
    desk.clock.advance(1)
    desk.world.fail(str(instance), "no such file")
    row = desk.row(instance)
    assert row["actual_status"] == "created"
    assert "OCI runtime create failed" in row["status_msg"]
    assert desk.world.alive()[0].state == State.FAILED
