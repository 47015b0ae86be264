"""GraphQL of the RunPod stand-in: really parsed and checked, with variables and without."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.runpod_desk import L4, Desk

RENT = """mutation Rent($input: PodFindAndDeployOnDemandInput) {
  podFindAndDeployOnDemand(input: $input) { id desiredStatus machine { podHostId } env } }"""
POD = (
    "query($id: String) { pod(input: {podId: $id}) { id desiredStatus costPerHr runtime { %s } } }"
)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def rent(desk: Desk, **changes: Any) -> dict[str, Any]:
    wish = {"name": "t", "imageName": "img", "gpuTypeId": L4, "cloudType": "SECURE", **changes}
    body = desk.graphql(RENT, {"input": wish})[1]
    found: dict[str, Any] = body["data"]["podFindAndDeployOnDemand"]
    return found


def pod(desk: Desk, pod_id: str, runtime: str = "uptimeInSeconds") -> Any:
    return desk.graphql(POD % runtime, {"id": pod_id})[1]["data"]["pod"]


def test_running_is_desired_at_once_and_true_when_there_is_a_runtime(desk: Desk) -> None:
    made = rent(desk, ports="22/tcp, 8000/http", env=[{"key": "A", "value": 'say "b"\n'}])
    assert (made["desiredStatus"], made["env"]) == ("RUNNING", ['A=say "b"\n'])
    assert pod(desk, made["id"])["runtime"] is None
    desk.clock.advance(6)
    ports = pod(desk, made["id"], "uptimeInSeconds ports { privatePort type }")["runtime"]["ports"]
    assert [(one["privatePort"], one["type"]) for one in ports] == [(22, "tcp"), (8000, "http")]


def test_no_capacity_is_an_error_under_200(desk: Desk) -> None:
    status, body = desk.graphql(RENT, {"input": {"gpuTypeId": "NVIDIA Quux", "name": "t"}})
    (error,) = body["errors"]
    assert (status, body["data"]) == (200, {"podFindAndDeployOnDemand": None})
    assert error["message"].startswith("There are no longer any instances available")
    assert error["path"] == ["podFindAndDeployOnDemand"]


def test_stop_resume_terminate(desk: Desk) -> None:
    made = rent(desk)["id"]
    desk.clock.advance(6)
    stop = f'mutation {{ podStop(input: {{podId: "{made}"}}) {{ id desiredStatus }} }}'
    assert desk.graphql(stop)[1]["data"]["podStop"]["desiredStatus"] == "EXITED"
    resume = (
        f'mutation {{ podResume(input: {{podId: "{made}", gpuCount: 1}}) {{ desiredStatus }} }}'
    )
    assert desk.graphql(resume)[1]["data"]["podResume"]["desiredStatus"] == "RUNNING"
    end = f'mutation {{ podTerminate(input: {{podId: "{made}"}}) }}'
    assert desk.graphql(end) == (200, {"data": {"podTerminate": None}})
    assert pod(desk, made)["desiredStatus"] == "TERMINATED"
    desk.clock.advance(3)
    assert pod(desk, made) is None
    (error,) = desk.graphql(end)[1]["errors"]
    assert (error["message"], error["extensions"]["code"]) == (
        "pod not found to terminate",
        "POD_NOT_FOUND",
    )


def test_a_spot_pod_is_billed_at_its_bid_and_refused_below_the_least(desk: Desk) -> None:
    query = """mutation($input: PodRentInterruptableInput!) {
      podRentInterruptable(input: $input) { id podType costPerHr } }"""
    wish: dict[str, Any] = {"gpuTypeId": L4, "gpuCount": 2, "name": "s", "bidPerGpu": 0.3}
    made = desk.graphql(query, {"input": wish})[1]["data"]["podRentInterruptable"]
    assert (made["podType"], made["costPerHr"]) == ("INTERRUPTABLE", 0.6)
    assert "errors" in desk.graphql(query, {"input": {**wish, "bidPerGpu": 0.01}})[1]
    desk.world.interrupt(made["id"])
    assert pod(desk, made["id"])["desiredStatus"] == "EXITED"


def test_a_pod_is_resumed_with_other_gpus_or_another_bid(desk: Desk) -> None:
    wish = {"gpuTypeId": L4, "name": "s", "bidPerGpu": 0.2}
    query = """mutation($input: PodRentInterruptableInput!) {
      podRentInterruptable(input: $input) { id } }"""
    made = desk.graphql(query, {"input": wish})[1]["data"]["podRentInterruptable"]["id"]

    def resume(bid: float, count: int) -> Any:
        asked = f'podId: "{made}", bidPerGpu: {bid}, gpuCount: {count}'
        text = f"mutation {{ podBidResume(input: {{{asked}}}) {{ gpuCount costPerHr }} }}"
        return desk.graphql(text)[1]["data"]["podBidResume"]

    assert resume(0.3, 2) is None, "it is not stopped"
    desk.world.interrupt(made)
    assert [resume(0.1, 2), resume(0.3, 9)] == [None, None]
    assert resume(0.3, 2) == {"gpuCount": 2, "costPerHr": 0.6}


def test_the_account_lists_its_pods_and_tells_its_money(desk: Desk) -> None:
    made = rent(desk)["id"]
    desk.clock.advance(6)
    query = "{ myself { id clientBalance currentSpendPerHr spendLimit pods { id name } } }"
    told = desk.graphql(query)[1]["data"]["myself"]
    assert told["pods"] == [{"id": made, "name": "t"}]
    assert (told["clientBalance"], told["spendLimit"]) == (None, 80)
    assert told["currentSpendPerHr"] == pytest.approx(0.39, abs=0.01)


LOWEST = """{ gpuTypes(input: {id: "NVIDIA L4"}) { id lowestPrice(input: {gpuCount: 8 %s}) {
  uninterruptablePrice minimumBidPrice stockStatus availableGpuCounts } } }"""


def lowest(desk: Desk, more: str = "") -> dict[str, Any]:
    (gpu,) = desk.graphql(LOWEST % more)[1]["data"]["gpuTypes"]
    found: dict[str, Any] = gpu["lowestPrice"]
    return found


def test_the_lowest_price_is_of_one_gpu_where_so_many_are_free(desk: Desk) -> None:
    told = lowest(desk)
    assert (told["uninterruptablePrice"], told["minimumBidPrice"]) == (0.39, 0.195)
    assert (told["stockStatus"], told["availableGpuCounts"]) == ("High", list(range(1, 9)))
    none = lowest(desk, "secureCloud: false")
    assert (none["uninterruptablePrice"], none["stockStatus"]) == (None, None)
    for _ in range(4):
        rent(desk, gpuCount=8, dataCenterId="US-TX-3")
    assert lowest(desk, 'dataCenterId: "US-TX-3"')["stockStatus"] is None


def test_what_is_public_is_told_without_a_key(desk: Desk) -> None:
    assert desk.graphql("{ gpuTypes { id } dataCenters { id } }", key=None)[0] == 200
    for query in ("{ myself { id } }", "{ gpuTypes { id } myself { id } }", "{"):
        assert desk.graphql(query, key=None)[0] == 401
    assert desk.graphql("{ myself { id } }", key="wrong")[0] == 401
    with_key_in_query = desk.send(
        "POST", "/graphql?api_key=rpa_desk", {"query": "{ myself { id } }"}
    )
    assert with_key_in_query.answer is not None
    assert with_key_in_query.answer.status == 200


@pytest.mark.parametrize(
    "query",
    [
        "{ gpuTypes { id",
        "{ gpuTypes { colour } }",
        '{ pod(input: {id: "x"}) { id } }',
        "mutation { podStop(input: {podId: 1}) { id } }",
        'mutation { podFindAndDeployOnDemand(input: {cloudType: "ALL"}) { id } }',
        'mutation { podFindAndDeployOnDemand(input: {name: "a", name: "b"}) { id } }',
        'mutation { podFindAndDeployOnDemand(input: {name: "say "hi""}) { id } }',
        "mutation($input: WrongInput) { podTerminate(input: $input) }",
    ],
)
def test_a_query_that_breaks_the_schema_is_an_error_and_does_nothing(
    desk: Desk, query: str
) -> None:
    status, body = desk.graphql(query)
    assert (status, bool(body["errors"])) == (200, True)
    assert desk.world.alive() == []


def test_bodies_that_are_no_query_are_refused(desk: Desk) -> None:
    assert "errors" in desk.graphql(17)[1]  # type: ignore[arg-type]
    assert desk.send("GET", "/graphql").answer is not None
    answer = desk.send("POST", "/graphql", ["{ gpuTypes { id } }"]).answer
    assert answer is not None
    assert b"errors" in answer.body


def test_both_apis_show_one_world(desk: Desk) -> None:
    made = rent(desk)["id"]
    assert desk.rest("GET", f"/pods/{made}")[1]["status"] == "PROVISIONING"
    other = desk.made()
    ids = desk.graphql("{ myself { pods { id } } }")[1]["data"]["myself"]["pods"]
    assert {one["id"] for one in ids} == {made, other}


def test_refusals_have_their_status_or_an_error_entry(desk: Desk) -> None:
    query = "{ myself { pods { id } } }"
    wanted = {"throttled": 429, "unauthorized": 401, "broken": 500, "forbidden": 200}
    for fault, status in wanted.items():
        desk.fail(fault=fault)
        assert desk.graphql(query)[0] == status
    desk.fail(fault="no_balance")
    assert "balance" in desk.graphql(RENT, {"input": {}})[1]["errors"][0]["message"]
