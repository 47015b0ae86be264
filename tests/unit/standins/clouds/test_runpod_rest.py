"""REST v2 of the RunPod stand-in: life of a pod, strict bodies, limits, catalog, volumes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from kernel.money import NANO
from tests.support.runpod_desk import L4, POD, RULES, Desk

# What the vendor's OpenAPI file requires of a pod and of a GPU type.
POD_FIELDS = {
    *("id", "name", "status", "actions", "image", "args", "disk", "mounts", "ports", "env"),
    *("registry", "cloud", "dataCenterId", "cudaVersion", "ssh", "template", "cost", "locked"),
    *("runtime", "createdAt", "startedAt", "globalNetworking"),
}
GPU_FIELDS = {"id", "name", "pool", "manufacturer", "memory", "secure", "community", "price"}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def status(desk: Desk, pod: str) -> str:
    found: dict[str, Any] = desk.rest("GET", f"/pods/{pod}")[1]
    return str(found["status"])


def test_a_pod_lives_from_provisioning_to_gone(desk: Desk) -> None:
    pod = desk.made()
    seen = [status(desk, pod)]
    for _ in range(2):
        desk.clock.advance(2)
        seen.append(status(desk, pod))
    desk.clock.advance(2)
    running = desk.rest("GET", f"/pods/{pod}")[1]
    assert [*seen, running["status"]] == ["PROVISIONING", "STARTING", "STARTING", "RUNNING"]
    assert set(running) >= POD_FIELDS
    assert running["gpu"] == {"id": L4, "count": 1, "vcpuCount": 16, "memory": 117}
    assert running["runtime"]["uptime"] == 1
    assert desk.rest("DELETE", f"/pods/{pod}") == (204, None)
    assert status(desk, pod) == "RUNNING", "it is on its way out, and RunPod has no word for that"
    desk.clock.advance(3)
    assert desk.rest("GET", f"/pods/{pod}")[0] == 404
    assert desk.rest("DELETE", f"/pods/{pod}")[0] == 404
    assert desk.rest("GET", "/pods")[1] == {"pods": []}


def test_actions_are_the_legal_ones_and_others_are_conflicts(desk: Desk) -> None:
    pod = desk.made()
    desk.clock.advance(10)

    def act(action: str) -> tuple[int, Any]:
        return desk.rest("POST", f"/pods/{pod}/action", {"action": action})

    assert act("start")[0] == 409
    stopped = act("stop")[1]
    assert (stopped["status"], stopped["actions"], stopped["cost"]) == (
        "EXITED",
        ["start", "terminate"],
        0.0,
    )
    assert act("restart")[0] == 409
    assert act("start")[1]["status"] == "PROVISIONING"
    desk.clock.advance(10)
    assert act("restart")[1]["status"] == "PROVISIONING"
    assert act("dance")[0] == 422
    assert act("terminate") == (204, None)


def test_a_locked_pod_is_not_stopped_and_a_name_can_change(desk: Desk) -> None:
    pod = desk.made()
    changed = desk.rest("PATCH", f"/pods/{pod}", {"name": "other", "locked": True})[1]
    assert (changed["name"], changed["locked"]) == ("other", True)
    assert desk.rest("POST", f"/pods/{pod}/action", {"action": "stop"})[0] == 409
    assert desk.world.alive()[0].tag == "other"


WRONG: dict[str, tuple[int, dict[str, Any]]] = {
    "no name": (422, {"name": None}),
    "no image": (422, {"image": None}),
    "unknown field": (422, {"imageName": "img"}),
    "unknown gpu field": (422, {"gpu": {"id": L4, "type": "x"}}),
    "count is text": (422, {"gpu": {"id": L4, "count": "1"}}),
    "count is true": (422, {"gpu": {"id": L4, "count": True}}),
    "no gpu, no cpu": (400, {"gpu": None}),
    "gpu and cpu": (400, {"cpu": {"id": "cpu3c", "vcpuCount": 2}}),
    "bad cloud": (422, {"cloud": "ALL"}),
    "bad port": (400, {"ports": ["22"]}),
    "two mounts": (400, {"mounts": {"persistent": {"size": 10}, "network": []}}),
    "small mount": (422, {"mounts": {"persistent": {"size": 1}}}),
    "unknown volume": (404, {"mounts": {"network": [{"volumeId": "x", "path": "/x"}]}}),
    "too many": (400, {"gpu": {"id": L4, "count": 9}}),
    "unknown gpu": (400, {"gpu": {"id": "NVIDIA Quux"}}),
    "elsewhere": (400, {"dataCenterIds": ["EU-SE-1"]}),
    "unreadable command": (400, {"args": "sh -c 'open"}),
}


@pytest.mark.parametrize("what", sorted(WRONG))
def test_a_wrong_body_is_a_problem_and_rents_nothing(desk: Desk, what: str) -> None:
    wanted, changes = WRONG[what]
    body = {name: value for name, value in {**POD, **changes}.items() if value is not None}
    answer = desk.send("POST", "/v2/pods", body).answer
    assert answer is not None
    problem = json.loads(answer.body)
    assert (answer.status, answer.content_type) == (wanted, "application/problem+json")
    assert (problem["status"], bool(problem["title"]), bool(problem["detail"])) == (
        wanted,
        True,
        True,
    )
    assert desk.world.alive() == []


def test_no_capacity_is_a_400_that_only_its_detail_tells(desk: Desk) -> None:
    while desk.world.free(f"{L4}@CA-MTL-3"):
        desk.made(gpu={"id": L4, "count": 8}, dataCenterIds=["CA-MTL-3"])
    status, problem = desk.rest("POST", "/pods", {**POD, "dataCenterIds": ["CA-MTL-3"]})
    assert (status, "no longer any instances" in problem["detail"]) == (400, True)


@pytest.mark.parametrize("key", [None, "", "rpa_other", "é"])
def test_without_the_key_nothing_is_told(desk: Desk, key: str | None) -> None:
    for method, path in (("GET", "/pods"), ("POST", "/pods"), ("GET", "/catalog/gpus")):
        assert desk.rest(method, path, key=key)[0] == 401


def headers_of(desk: Desk, target: str) -> tuple[int, dict[str, str]]:
    answer = desk.send("GET", "/v2" + target).answer
    assert answer is not None
    return answer.status, dict(answer.headers)


def test_rate_limits_are_told_on_every_answer_and_kept(desk: Desk) -> None:
    status, headers = headers_of(desk, "/pods")
    assert (status, headers["ratelimit"].split(",")[0]) == (200, '"minute";r=59;t=60')
    assert headers["ratelimit-policy"].startswith('"minute";q=60;w=60, "hour";q=3000')
    assert headers_of(desk, "/pods/none")[1]["ratelimit"].startswith('"minute";r=58')
    for _ in range(58):
        headers_of(desk, "/pods")
    desk.clock.advance(20)
    status, headers = headers_of(desk, "/pods")
    assert (status, headers["retry-after"]) == (429, "40")
    desk.clock.advance(40)
    assert headers_of(desk, "/pods")[0] == 200


def test_limits_can_be_left_out() -> None:
    desk = Desk(replace(RULES, rate_limits=False))
    assert {headers_of(desk, "/pods")[0] for _ in range(100)} == {200}


def test_a_gpu_is_told_with_price_and_where_it_is_to_be_had(desk: Desk) -> None:
    gpus = desk.rest("GET", "/catalog/gpus")[1]["gpus"]
    assert all(set(gpu) >= GPU_FIELDS and "availability" not in gpu for gpu in gpus)
    query = "?include=AVAILABILITY&product=POD&count=8"
    gpu = desk.rest("GET", f"/catalog/gpus/{L4}{query}")[1]
    assert (gpu["price"], gpu["availability"]) == ({"secure": 0.39, "community": 0.0}, "HIGH")
    desk.made(gpu={"id": L4, "count": 8}, dataCenterIds=["US-TX-3"])
    for _ in range(3):
        desk.made(gpu={"id": L4, "count": 8}, dataCenterIds=["US-TX-3"])
    gpu = desk.rest("GET", f"/catalog/gpus/{L4}{query}")[1]
    levels = {center["id"]: center["availability"] for center in gpu["dataCenters"]}
    assert (levels["US-TX-3"], levels["CA-MTL-3"]) == ("NONE", "HIGH")
    gpus = desk.rest("GET", f"/catalog/gpus{query}&cloud=COMMUNITY")[1]["gpus"]
    assert {gpu["id"]: gpu["availability"] for gpu in gpus}[L4] == "NONE"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("product=POD", 400),
        ("include=AVAILABILITY", 400),
        ("include=EVERYTHING", 422),
        ("include=AVAILABILITY&product=CAR", 422),
        ("include=AVAILABILITY&product=POD&count=0", 422),
        ("include=AVAILABILITY&product=POD&countryCodes=fr", 422),
        ("include=AVAILABILITY&product=POD&cudaVersions=12.8&minCudaVersion=12", 400),
        ("include=AVAILABILITY&product=POD,CLUSTER&countryCodes=US,RO", 200),
    ],
)
def test_catalog_filters_are_read_as_documented(desk: Desk, query: str, status: int) -> None:
    assert desk.rest("GET", f"/catalog/gpus?{query}")[0] == status


def test_data_centers_tell_their_gpus_where_asked(desk: Desk) -> None:
    plain = desk.rest("GET", "/catalog/datacenters")[1]["dataCenters"]
    assert all("gpuAvailability" not in center for center in plain)
    told = desk.rest("GET", "/catalog/datacenters?include=GPU_AVAILABILITY")[1]["dataCenters"]
    texas = next(center for center in told if center["id"] == "US-TX-3")
    assert {"id": L4, "availability": "HIGH"} in texas["gpuAvailability"]


def test_a_cpu_pod_costs_by_its_processors(desk: Desk) -> None:
    pod = desk.made(gpu=None, cpu={"id": "cpu3c", "vcpuCount": 4})
    told = desk.rest("GET", f"/pods/{pod}")[1]
    assert (told["cpu"], told["cost"]) == ({"id": "cpu3c", "vcpuCount": 4, "memory": 8}, 0.12)
    assert "gpu" not in told


def test_a_volume_grows_and_binds_a_pod_to_its_center(desk: Desk) -> None:
    wish = {"name": "models", "size": 100, "dataCenter": "US-TX-3"}
    status, volume = desk.rest("POST", "/network-volumes", wish)
    assert (status, volume["type"]) == (201, "STANDARD")
    place = f"/network-volumes/{volume['id']}"
    assert desk.rest("PATCH", place, {"size": 50})[0] == 400
    assert desk.rest("PATCH", place, {"size": 200})[1]["size"] == 200
    mounts = {"network": [{"volumeId": volume["id"], "path": "/models"}]}
    assert (
        desk.rest("POST", "/pods", {**POD, "mounts": mounts, "dataCenterIds": ["EU-RO-1"]})[0]
        == 400
    )
    pod = desk.made(mounts=mounts)
    told = desk.rest("GET", f"/pods/{pod}")[1]
    assert (told["dataCenterId"], told["mounts"]) == ("US-TX-3", mounts)
    assert desk.rest("DELETE", place) == (204, None)
    assert desk.rest("GET", "/network-volumes")[1] == {"networkVolumes": []}


def test_ssh_keys_are_replaced_as_a_whole(desk: Desk) -> None:
    assert desk.rest("PUT", "/account/ssh-keys", {"keys": ["ssh-ed25519 AAA me"]})[0] == 200
    assert desk.rest("PUT", "/account/ssh-keys", {"keys": ["nonsense"]})[0] == 422
    assert desk.rest("GET", "/account/ssh-keys")[1] == {"keys": ["ssh-ed25519 AAA me"]}


def test_the_bill_is_what_the_machine_cost(desk: Desk) -> None:
    pod = desk.made(disk=100)
    desk.clock.advance(3601)
    (record,) = desk.rest("GET", f"/billing/pods?podId={pod}")[1]["records"]
    cost = desk.world.cost_nano(pod)
    assert record["totalAmount"] == cost / NANO
    assert record["gpuAmount"] == pytest.approx(0.39, abs=1e-6)
    assert record["diskAmount"] > 0


def test_an_unknown_path_or_method_is_a_problem(desk: Desk) -> None:
    assert desk.rest("GET", "/clusters")[0] == 404
    assert desk.rest("PUT", "/pods")[0] == 405
    assert desk.send("GET", "/").answer is not None
