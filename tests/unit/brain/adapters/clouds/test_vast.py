"""Vast.ai's rows, orders and refusals, read with suspicion and put into our words."""

from __future__ import annotations

import json
import random
import subprocess
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.adapters.clouds.http import Answer
from brain.adapters.clouds.vast import VastCloud
from brain.adapters.clouds.vast.machines import endpoints_of, machine_of, state_of
from brain.adapters.clouds.vast.offers import offer_of, offers_of
from brain.adapters.clouds.vast.orders import START, bid_of, disk_gb, order_body
from brain.adapters.clouds.vast.refusals import MadeAnyway, judge
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
    Throttled,
    Unreadable,
)
from kernel.clock import ManualClock

pytestmark = pytest.mark.feature("B2")
ROW: dict[str, Any] = {
    "id": 384826,
    "machine_id": 12714,
    "gpu_name": "RTX 4090",
    "num_gpus": 4,
    "gpu_ram": 24564,
    "dph_base": 1.4666666666666666,
    "min_bid": 0.8,
    "storage_cost": 0.15,
    "inet_up_cost": 0.005,
    "disk_space": 1073.741824,
    "geolocation": "Texas, US",
    "reliability2": 0.9876543,
    "duration": 86400.7,
    "rentable": True,
    "rented": False,
    "datacenter": False,
    "hosting_type": 0,
}
INSTANCE: dict[str, Any] = {
    "id": 7835610,
    "label": "gng-1",
    "actual_status": "running",
    "intended_status": "running",
    "cur_state": "running",
    "next_state": "running",
    "status_msg": "success, running an/image",
    "dph_total": 0.316000001,
    "start_date": 1795244091.25,
    "gpu_name": "RTX 4090",
    "gpu_ram": 24564,
    "num_gpus": 1,
    "geolocation": "Sweden, SE",
    "is_bid": False,
}
OFFER = CloudOffer("vast", "384826", "RTX 4090", 4, 24564, 366_666_667, "US")
NOON = 1_795_262_400_000_000_000  # 12:00 UTC


def order(**more: Any) -> Order:
    boot = Boot("echo up\n", {"JOIN_TOKEN": "t"}, "an/image")
    return Order(**{"tag": "gng-1", "offer": OFFER, "boot": boot, **more})


def answer(status: int, body: object, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer("Vast.ai", status, httpx.Headers(headers), raw)


def meaning(status: int, body: object, **headers: str) -> object:
    return judge(ManualClock(NOON))(answer(status, body, **headers))


# --- offers -------------------------------------------------------------------------------------


@pytest.mark.feature("B5")
def test_a_row_is_an_offer_in_our_units() -> None:
    offer = offer_of(ROW, spot=False)
    assert offer is not None
    assert (offer.key, offer.gpu_name, offer.gpus) == ("384826", "RTX 4090", 4)
    assert offer.price_nano == 366_666_667, "a fourth of 1.4666666666666666 $, rounded up"
    assert offer.storage_nano_gib_hour == 223_697, "0.15 $ per GB and month of 720 h, per GiB"
    assert offer.egress_nano_gib == 5_368_710
    assert (offer.disk_gib_max, offer.seconds_max, offer.free) == (1000, 86_400, 1)
    assert (offer.host, offer.region, offer.secure) == ("12714", "US", False)
    assert offer.reliability_ppm == 987_654


def test_a_bid_is_another_offer_of_the_same_machine() -> None:
    offer = offer_of(ROW, spot=True)
    assert offer is not None
    assert (offer.key, offer.spot, offer.price_nano) == ("384826:bid", True, 200_000_000)


@pytest.mark.parametrize(
    "odd",
    [
        {"dph_base": -1.0},
        {"dph_base": 0},
        {"dph_base": 1e9},
        {"dph_base": "free"},
        {"dph_base": None},
        {"dph_base": True},
        {"dph_base": float("nan")},
        {"num_gpus": 0},
        {"gpu_name": ""},
        {"gpu_name": 4090},
        {"id": None},
        {"rentable": False},
        {"rented": True},
    ],
)
def test_what_cannot_be_true_or_be_rented_is_no_offer(odd: dict[str, object]) -> None:
    assert offers_of([ROW | odd, ROW, "no row", None], spot=False) == [offer_of(ROW, spot=False)]


@pytest.mark.feature("B5")
@given(cents=st.integers(1, 99_999_999), gpus=st.integers(1, 16))
def test_no_price_is_ever_told_too_low(cents: int, gpus: int) -> None:
    row = ROW | {"dph_base": cents / 1_000_000, "num_gpus": gpus}
    offer = offer_of(row, spot=False)
    exact = Decimal(repr(cents / 1_000_000)) * 1_000_000_000 / gpus
    assert offer is not None
    assert exact <= offer.price_nano < exact + 1


# --- machines -----------------------------------------------------------------------------------


def test_an_instance_is_a_machine() -> None:
    machine = machine_of(INSTANCE)
    assert machine is not None
    assert (machine.machine_id, machine.tag) == ("7835610", "gng-1")
    assert (machine.state, machine.cost_nano_hour) == (MachineState.RUNNING, 316_000_001)
    assert machine.created_ns == 1_795_244_091_250_000_000
    assert machine_of({"label": "gng-1"}) is None


OCI = "Error: OCI runtime create failed: exec: not found"
STILL = {"intended_status": "stopped", "cur_state": "stopped", "next_state": "stopped"}


@pytest.mark.parametrize(
    ("seen", "state"),
    [
        ({"actual_status": None}, MachineState.PROVISIONING),
        ({"actual_status": "created"}, MachineState.STARTING),
        ({"actual_status": "loading"}, MachineState.STARTING),
        ({"actual_status": "rebooting"}, MachineState.STARTING),
        ({"actual_status": "running"}, MachineState.RUNNING),
        ({"actual_status": "created", "status_msg": OCI}, MachineState.FAILED),
        ({"actual_status": "running", "status_msg": OCI}, MachineState.RUNNING),
        ({"actual_status": "exited"}, MachineState.FAILED),
        ({"actual_status": "exited", "intended_status": "stopped"}, MachineState.STOPPED),
        ({"actual_status": "stopped", **STILL}, MachineState.STOPPED),
        ({"actual_status": "exited", **STILL, "is_bid": True}, MachineState.INTERRUPTED),
        ({"actual_status": "stopped"}, MachineState.PROVISIONING),
        ({"actual_status": "frozen"}, MachineState.UNKNOWN),
        ({"actual_status": "unknown"}, MachineState.UNKNOWN),
        ({"actual_status": "offline"}, MachineState.UNKNOWN),
        ({"actual_status": "a new word"}, MachineState.UNKNOWN),
        ({"actual_status": "exited", "next_state": "unloaded"}, MachineState.TERMINATING),
        ({"actual_status": None, "cur_state": "unloaded"}, MachineState.PROVISIONING),
    ],
)
def test_several_states_mean_one(seen: dict[str, object], state: MachineState) -> None:
    assert state_of(INSTANCE | seen) == state


def test_ports_are_dockers_map_and_ssh_has_a_proxy() -> None:
    row = {"public_ipaddr": " 1.2.3.4 \n", "ssh_host": "ssh4.vast.ai", "ssh_port": 23456}
    proxy = Endpoint(22, "ssh4.vast.ai", 23456, "ssh", "root", shared=True)
    assert endpoints_of(row) == [proxy]
    mapped = {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "40022"}], "53/udp": [{}], "x": None}
    assert endpoints_of(row | {"ports": mapped}) == [Endpoint(22, "1.2.3.4", 40022, "ssh", "root")]
    assert endpoints_of({"ports": [22]}) == []


# --- orders -------------------------------------------------------------------------------------


def test_an_order_cancels_what_cannot_start_and_bears_the_tag() -> None:
    body = order_body(order(disk_gib=40, ports=(8000,)))
    assert (body["label"], body["cancel_unavail"], body["price"]) == ("gng-1", True, None)
    assert body["disk"] == 43, "40 GiB are 42.95 GB"
    assert (body["runtype"], body["args"]) == ("args", ["-c", START])
    env = body["env"]
    assert isinstance(env, dict)
    assert set(env) == {"JOIN_TOKEN", "GANGLION_BOOT", "-p 8000:8000"}


def test_an_order_holds_nothing_that_the_vendors_client_does_not_send() -> None:
    sent = {
        *("client_id", "image", "env", "price", "disk", "label", "extra", "onstart", "args"),
        *("image_login", "python_utf8", "lang_utf8", "use_jupyter_lab", "jupyter_dir", "force"),
        *("cancel_unavail", "template_hash_id", "user", "runtype", "volume_info"),
    }
    assert set(order_body(order())) | set(order_body(order(ssh_public_keys=("k",)))) <= sent


def test_the_packed_script_is_what_a_shell_runs() -> None:
    script = 'printf "%s|" \'it"s\' "$A" `echo x`\necho é'
    body = order_body(order(boot=Boot(script, {"A": "b c"}, "an/image")))
    given_env = body["env"]
    assert isinstance(given_env, dict)
    env = {"PATH": "/usr/bin:/bin", **given_env}
    ran = subprocess.run(["/bin/sh", "-c", START], env=env, capture_output=True, check=True)
    assert ran.stdout.decode() == 'it"s|b c|x|é\n'


def test_keys_are_taken_in_by_the_clouds_own_entry_point() -> None:
    body = order_body(order(ssh_public_keys=("ssh-ed25519 AAAA o'brien",)))
    assert body["runtype"] == "ssh_direc ssh_proxy"
    assert "args" not in body
    assert len(str(body["onstart"])) < 4048


@pytest.mark.parametrize("name", ["-p 1:1", "A B", "1A", "", "A=B"])
def test_a_variable_cannot_be_a_flag_of_dockers(name: str) -> None:
    with pytest.raises(CloudRefused):
        order_body(order(boot=Boot("true", {name: "1"}, "an/image")))


def test_a_bid_is_dollars_for_the_whole_machine() -> None:
    spot = replace(OFFER, spot=True, key="384826:bid", price_nano=200_000_000)
    assert bid_of(order(offer=spot)) == 0.8
    assert bid_of(order(offer=spot, bid_nano=250_000_000)) == 1.0
    assert disk_gb(1) == 8


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, {"success": False, "error": "no_such_ask", "msg": "not available"}, NothingFree),
        (410, {"error": "no_such_ask"}, NothingFree),
        (404, {"error": "auth_error", "msg": "Invalid user key"}, CredentialsRefused),
        (401, {"msg": "Invalid user key"}, CredentialsRefused),
        (404, {"msg": "Session expired. Please log in again."}, CredentialsRefused),
        (404, {"success": False, "error": "no_such_instance"}, MachineMissing),
        (200, {"success": False, "error": "no_such_instance", "msg": "gone"}, MachineMissing),
        (200, {"success": False, "msg": "Something else"}, CloudRefused),
        (400, {"success": False, "error": "insufficient_credit"}, Broke),
        (411, {"error": "other"}, Broke),
        (400, {"error": "invalid_args", "msg": "image"}, CloudRefused),
        (400, {"error": "invalid_price"}, NothingFree),
    ],
)
def test_a_refusal_is_what_to_do_next(status: int, body: object, kind: type) -> None:
    assert isinstance(meaning(status, body), kind)


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, {"success": True}), (200, {"offers": []}), (500, {"error": "x"}), (404, b"<html>")],
)
def test_other_answers_are_judged_by_their_status(status: int, body: object) -> None:
    assert meaning(status, body) is None


def test_spent_searches_are_there_again_at_midnight() -> None:
    said = {"error": "search_quota_exceeded", "msg": "Daily search quota exceeded"}
    told = meaning(429, said)
    assert isinstance(told, Throttled)
    assert told.retry_after == 12 * 3600
    reset = str(NOON // 1_000_000_000 + 600)
    sooner = meaning(429, said, **{"x-ratelimit-reset": reset})
    assert isinstance(sooner, Throttled)
    assert sooner.retry_after == 600
    assert meaning(429, b"API requests too frequent: endpoint threshold=4.5") is None


def test_a_refusal_that_made_a_machine_is_told_apart() -> None:
    made = meaning(400, {"success": False, "error": "invalid_price", "new_contract": 7})
    assert isinstance(made, MadeAnyway)
    assert (made.instance, type(made.cause)) == (7, NothingFree)


# --- calls --------------------------------------------------------------------------------------


def cloud(*answers: tuple[int, object] | Exception) -> tuple[VastCloud, list[httpx.Request]]:
    """An account whose cloud gives these answers, one after the other."""
    left, asked = list(answers), []

    async def serve(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        given = left.pop(0)
        if isinstance(given, Exception):
            raise given
        return httpx.Response(given[0], stream=httpx.ByteStream(json.dumps(given[1]).encode()))

    class Clock(ManualClock):
        async def sleep(self, seconds: float) -> None:
            self.advance(seconds)

    made = VastCloud(
        base_url="https://vast.example",
        key="k",
        clock=Clock(),
        chance=random.Random(1),
        transport=httpx.MockTransport(serve),
    )
    return made, asked


def page(ids: list[int], total: int, token: str | None) -> tuple[int, object]:
    rows = [INSTANCE | {"id": number} for number in ids]
    return 200, {"instances": rows, "total_instances": total, "next_token": token}


async def test_all_pages_make_a_listing() -> None:
    made, asked = cloud(page([1, 2], 3, "more"), page([3], 3, None))
    listing = await made.listing()
    assert listing.complete
    assert [one.machine_id for one in listing.machines] == ["1", "2", "3"]
    assert [request.url.params.get("after_token") for request in asked] == [None, "more"]
    assert asked[0].url.params["limit"] == "25"


@pytest.mark.parametrize(
    "pages",
    [
        [page([1, 2], 3, None)],
        [page([1], 2, "a"), page([2], 2, "a")],
        [(200, {"instances": [INSTANCE, {"label": "x"}], "total_instances": 2})],
    ],
)
async def test_a_listing_that_lacks_something_is_not_complete(pages: list[Any]) -> None:
    made, _ = cloud(*pages)
    listing = await made.listing()
    assert not listing.complete
    assert listing.why_incomplete
    made, _ = cloud(*pages)
    with pytest.raises(Unreadable):
        await made.find_by_tag("gng-1")


async def test_an_instance_that_is_null_is_missing_and_another_is_no_answer() -> None:
    made, _ = cloud((200, {"instances": None}), (200, {"instances": INSTANCE | {"id": 8}}))
    with pytest.raises(MachineMissing):
        await made.machine("7")
    with pytest.raises(Unreadable):
        await made.machine("7")


REFUSED = (400, {"success": False, "error": "invalid_price", "new_contract": 7})


async def test_what_a_refused_order_made_is_destroyed() -> None:
    made, asked = cloud(REFUSED, (200, {"success": True}))
    with pytest.raises(NothingFree):
        await made.create(order())
    assert [(one.method, one.url.path) for one in asked] == [
        ("PUT", "/api/v0/asks/384826/"),
        ("DELETE", "/api/v0/instances/7/"),
    ]


async def test_what_could_not_be_destroyed_is_to_be_looked_for() -> None:
    made, asked = cloud(REFUSED, *[(500, {})] * 3)
    with pytest.raises(OutcomeUnknown):
        await made.create(order())
    assert len(asked) == 4, "an order is sent once, an end may be asked for again"


async def test_credit_is_what_can_be_spent() -> None:
    made, _ = cloud((200, {"id": 1, "balance": 900.0, "credit": 12.3456789012}))
    assert await made.balance_nano() == 12_345_678_901


async def test_another_clouds_offer_is_refused_before_anything_is_sent() -> None:
    made, asked = cloud()
    with pytest.raises(CloudRefused):
        await made.create(order(offer=replace(OFFER, key="gpu_1x_a10@us-west-1")))
    assert asked == []
