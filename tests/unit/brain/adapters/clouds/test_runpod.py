"""RunPod's rows, orders and refusals, read with suspicion and put into our words."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.adapters.clouds.http import Answer
from brain.adapters.clouds.runpod.machines import (
    graphql_endpoints,
    graphql_machine,
    rest_endpoints,
    rest_machine,
)
from brain.adapters.clouds.runpod.offers import Question, graphql_offers, rest_offers
from brain.adapters.clouds.runpod.orders import START, Choice, environment_of, rest_body
from brain.adapters.clouds.runpod.refusals import (
    create_judge,
    graphql_judge,
    list_judge,
    rest_judge,
)
from brain.clouds import (
    Boot,
    Broke,
    CloudError,
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

pytestmark = pytest.mark.feature("B1")
ASKED = Question("SECURE", 2)
GPU: dict[str, Any] = {
    "id": "NVIDIA L4",
    "memory": 24,
    "price": {"secure": 0.39, "community": 0.3},
    "availability": "LOW",
    "dataCenters": [
        {"id": "EU-RO-1", "availability": "LOW"},
        {"id": "US-TX-3", "availability": "NONE"},
    ],
}
OFFER = CloudOffer("runpod", "SECURE|NVIDIA L4|2|", "L4", 2, 23034, 390_000_000, "")


def order(**boot: Any) -> Order:
    return Order("gng-1", OFFER, Boot(**{"script": "true", "image": "python:3.11", **boot}))


def test_an_offer_stands_where_its_gpus_are() -> None:
    (offer,) = rest_offers([GPU], ASKED)
    assert (offer.region, offer.gpus, offer.price_nano) == ("EU-RO-1", 2, 390_000_000)
    assert Choice.of(offer) == Choice("SECURE", "NVIDIA L4", 2, "EU-RO-1")


@pytest.mark.parametrize("price", [-1, 0, "NaN", "inf", 1e9, None, True, [], "free"])
def test_a_price_that_cannot_be_true_makes_no_offer(price: object) -> None:
    assert rest_offers([{**GPU, "price": {"secure": price}}], ASKED) == []
    row = {**GPU, "securePrice": price, "lowestPrice": {"stockStatus": "High"}}
    assert graphql_offers([row], ASKED) == []


@pytest.mark.parametrize("price", [0.39, "0.39"])
def test_a_price_is_exact_as_a_number_and_as_text(price: object) -> None:
    row = {**GPU, "securePrice": price, "lowestPrice": {"stockStatus": "High"}}
    assert [one.price_nano for one in graphql_offers([row], ASKED)] == [390_000_000]


def test_what_is_out_of_stock_is_no_offer() -> None:
    assert rest_offers([{**GPU, "availability": "NONE"}, None, 3, {}], ASKED) == []
    for status in (None, "None", ""):
        row = {**GPU, "securePrice": 1, "lowestPrice": {"stockStatus": status}}
        assert graphql_offers([row, []], ASKED) == []


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=200)


@given(TEXT, TEXT)
def test_a_script_travels_packed_and_variables_as_they_are(script: str, value: str) -> None:
    sent = environment_of(order(script=script, env={"A": value}))
    assert base64.b64decode(sent["GANGLION_BOOT"], validate=True).decode() == script
    assert sent["A"] == value


def test_the_start_line_runs_the_script(tmp_path: Path) -> None:
    script = "cat <<'E'\nit's $HOME \"here\" `now` \\\nE\nexit 7\n"
    given = environment_of(order(script=script))
    done = subprocess.run(
        shlex.split(START), env=dict(os.environ) | given, capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ('it\'s $HOME "here" `now` \\\n', 7)


@pytest.mark.parametrize("env", [{"A=B": "1"}, {"": "1"}, {"A": "\0"}, {"GANGLION_BOOT": "x"}])
def test_a_variable_that_no_container_takes_is_refused(env: dict[str, str]) -> None:
    with pytest.raises(CloudRefused):
        rest_body(order(env=env))


def test_another_clouds_offer_is_refused() -> None:
    with pytest.raises(CloudRefused):
        Choice.of(CloudOffer("vast", "12345", "L4", 1, 1, 1, ""))


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("PROVISIONING", MachineState.PROVISIONING),
        ("STARTING", MachineState.STARTING),
        ("RUNNING", MachineState.RUNNING),
        ("EXITED", MachineState.STOPPED),
        ("ERROR", MachineState.FAILED),
        ("TERMINATED", MachineState.TERMINATED),
        ("PONDERING", MachineState.UNKNOWN),
        (None, MachineState.UNKNOWN),
    ],
)
def test_a_pods_status_has_our_word(status: object, state: MachineState) -> None:
    found = rest_machine({"id": "p1", "name": "gng-1", "status": status, "cost": "0.78"})
    assert found is not None
    assert (found.state, found.cost_nano_hour) == (state, 780_000_000)


@pytest.mark.parametrize(
    ("row", "state"),
    [
        ({"desiredStatus": "RUNNING", "runtime": {"ports": None}}, MachineState.RUNNING),
        ({"desiredStatus": "RUNNING", "machineId": "m"}, MachineState.STARTING),
        ({"desiredStatus": "RUNNING"}, MachineState.PROVISIONING),
        ({"desiredStatus": "EXITED", "runtime": {}}, MachineState.STOPPED),
        ({"desiredStatus": "DEAD"}, MachineState.FAILED),
        ({"desiredStatus": "TERMINATED"}, MachineState.TERMINATED),
        ({}, MachineState.UNKNOWN),
    ],
)
def test_a_pod_that_is_meant_to_run_runs_when_its_runtime_is_there(
    row: dict[str, Any], state: MachineState
) -> None:
    found = graphql_machine({"id": "p1", "name": "gng-1", **row})
    assert found is not None
    assert found.state == state


def test_a_row_without_an_id_is_no_machine() -> None:
    for row in (None, [], {}, {"id": 3}, {"id": ""}):
        assert rest_machine(row) is None
        assert graphql_machine(row) is None


def test_ports_are_told_as_the_clouds_own_addresses() -> None:
    ports = [
        {"private": 8000, "public": None, "type": "http", "ip": None},
        {"private": 22, "public": 40022, "type": "tcp", "ip": "1.2.3.4"},
        {"private": 9000, "public": None, "type": "tcp", "ip": None},
    ]
    proxy = {"host": "ssh.runpod.io", "port": 22, "username": "u"}
    row = {"id": "p1", "runtime": {"ports": ports}, "ssh": {"proxy": proxy, "direct": None}}
    assert rest_endpoints(row) == [
        Endpoint(8000, "p1-8000.proxy.runpod.net", 443, "http"),
        Endpoint(22, "1.2.3.4", 40022, "ssh", "root"),
    ]
    assert rest_endpoints({**row, "runtime": None}) == [
        Endpoint(22, "ssh.runpod.io", 22, "ssh", "u", shared=True)
    ]
    assert graphql_endpoints({"id": "p1", "machine": {"podHostId": "u"}}) == [
        Endpoint(22, "ssh.runpod.io", 22, "ssh", "u", shared=True)
    ]


def problem(status: int, detail: str) -> Answer:
    body = json.dumps({"title": "Problem", "status": status, "detail": detail}).encode()
    return Answer("RunPod", status, httpx.Headers(), body)


@pytest.mark.parametrize(
    ("status", "detail", "kind"),
    [
        (400, "There are no longer any instances available with the …", NothingFree),
        (400, "This GPU and data center combination could not be placed.", NothingFree),
        (400, "words that nobody has seen before", NothingFree),
        (400, "exactly one of gpu or cpu must be set", CloudRefused),
        (400, "Your spend limit is reached.", Broke),
        (403, "Your account cannot access the requested pool.", NothingFree),
        (403, "access denied", type(None)),
        (404, "template not found", CloudRefused),
        (422, "Request validation failed.", type(None)),
    ],
)
def test_a_refused_order_is_read_by_its_words(status: int, detail: str, kind: type) -> None:
    assert type(create_judge(problem(status, detail))) is kind


def test_other_refusals_are_read_by_their_status() -> None:
    assert type(rest_judge(problem(409, "cannot stop"))) is CloudRefused
    assert type(rest_judge(problem(400, "no capacity to start it"))) is NothingFree
    assert type(rest_judge(problem(404, "resource not found"))) is MachineMissing
    assert type(rest_judge(problem(404, "pod not found"))) is MachineMissing
    assert rest_judge(problem(404, "no such route")) is None
    assert rest_judge(Answer("RunPod", 404, httpx.Headers(), b'{"message": "not found"}')) is None
    assert list_judge(problem(404, "resource not found")) is None


@pytest.mark.parametrize(
    ("message", "code", "kind"),
    [
        ("There are no longer any instances available with the requested …", "RUNPOD", NothingFree),
        ("There are not enough free GPUs on the host machine.", "RUNPOD", NothingFree),
        ("pod not found to terminate", "RUNPOD", MachineMissing),
        ("Your account balance is too low.", "RUNPOD", Broke),
        ("Unauthorized", "UNAUTHENTICATED", CredentialsRefused),
        ("Too many requests.", "", Throttled),
        ("Field is not defined.", "GRAPHQL_VALIDATION_FAILED", CloudRefused),
        ("Something went wrong. Please try again later.", "INTERNAL_SERVER_ERROR", OutcomeUnknown),
        ("words that nobody has seen before", "", OutcomeUnknown),
    ],
)
def test_an_error_in_a_good_answer_is_one(message: str, code: str, kind: type[CloudError]) -> None:
    error = {"message": message, "extensions": {"code": code}}
    body = json.dumps({"errors": [error], "data": None}).encode()
    found = graphql_judge(Answer("RunPod", 200, httpx.Headers(), body))
    assert type(found) is kind
    assert found.code == code
    assert message not in found.detail


@pytest.mark.parametrize("body", [b"[]", b"3", b"null", b"{", b"\xff", b"<html>"])
def test_what_is_no_graphql_answer_is_never_taken_for_one(body: bytes) -> None:
    answer = Answer("RunPod", 200, httpx.Headers(), body)
    found = graphql_judge(answer)
    assert answer.is_page or type(found) is Unreadable
