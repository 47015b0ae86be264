"""Every fault of the plan can be met, and does what it says; the stand-in's own routes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from standins.clouds.faults import FaultKind
from standins.clouds.machine import State
from tests.support.runpod_desk import L4, POD, Desk

LONG_AGO = 3600.0


@pytest.fixture
def desk() -> Desk:
    return Desk()


def states(desk: Desk) -> list[State]:
    desk.world.advance()
    return [machine.state for machine in desk.world.machines.values()]


def after(desk: Desk, seconds: float) -> list[State]:
    desk.clock.advance(seconds)
    return states(desk)


def refuses(status: int) -> Callable[[Desk], None]:
    def check(desk: Desk) -> None:
        assert desk.rest("POST", "/pods", POD)[0] == status
        assert states(desk) == []
        desk.made()

    return check


def throttled(desk: Desk) -> None:
    answer = desk.send("POST", "/v2/pods", POD).answer
    assert answer is not None
    assert (answer.status, dict(answer.headers).get("retry-after")) == (429, None)
    desk.fail(fault="throttled", retry_after=2.5)
    answer = desk.send("POST", "/v2/pods", POD).answer
    assert answer is not None
    assert dict(answer.headers)["retry-after"] == "3"
    assert states(desk) == []


def silent(desk: Desk) -> None:
    reply = desk.send("POST", "/v2/pods", POD)
    assert (reply.answer, reply.wait_seconds, states(desk)) == (None, LONG_AGO, [])


def late(desk: Desk) -> None:
    reply = desk.send("POST", "/v2/pods", POD)
    assert reply.answer is not None
    assert (reply.answer.status, reply.wait_seconds) == (201, LONG_AGO)


def cut(desk: Desk) -> None:
    assert desk.send("POST", "/v2/pods", POD).answer is None
    assert states(desk) == []


def html(desk: Desk) -> None:
    answer = desk.send("GET", "/v2/pods").answer
    assert answer is not None
    assert answer.body.startswith(b"<!DOCTYPE html>")
    assert answer.content_type.startswith("text/html")


def garbled(desk: Desk) -> None:
    assert isinstance(desk.rest("GET", "/pods")[1], list)


def huge(desk: Desk) -> None:
    answer = desk.send("GET", "/v2/pods").answer
    assert answer is not None
    assert len(answer.body) > 10_000_000
    assert json.loads(answer.body)


def half(desk: Desk) -> None:
    reply = desk.send("GET", "/v2/pods")
    assert reply.half
    assert reply.answer is not None


def slow_boot(desk: Desk) -> None:
    desk.made()
    assert after(desk, LONG_AGO - 1) == [State.BOOTING]
    assert after(desk, 1) == [State.RUNNING]


def failed_boot(desk: Desk) -> None:
    desk.made()
    assert after(desk, LONG_AGO) == [State.FAILED]


def endless_boot(desk: Desk) -> None:
    desk.made()
    assert after(desk, 10 * LONG_AGO) == [State.BOOTING]


def interrupted(desk: Desk) -> None:
    desk.made()
    assert after(desk, 5) == [State.RUNNING]
    assert after(desk, LONG_AGO) == [State.INTERRUPTED]


def ghost(desk: Desk) -> None:
    pod = desk.made()
    assert states(desk) == []
    assert desk.rest("GET", f"/pods/{pod}")[0] == 404


def doubled(desk: Desk) -> None:
    desk.made()
    assert [pod["name"] for pod in desk.rest("GET", "/pods")[1]["pods"]] == ["gng-1", "gng-1"]


def lie(desk: Desk) -> None:
    pod = desk.made()
    assert desk.rest("DELETE", f"/pods/{pod}")[0] == 204
    assert after(desk, 60) == [State.RUNNING]
    desk.rest("DELETE", f"/pods/{pod}")
    assert after(desk, 60) == [State.GONE]


def deaf(desk: Desk) -> None:
    pod = desk.made()
    for _ in range(3):
        assert desk.rest("DELETE", f"/pods/{pod}")[0] == 204
        assert after(desk, LONG_AGO / 3) == [State.RUNNING]
    desk.rest("DELETE", f"/pods/{pod}")
    assert after(desk, 60) == [State.GONE]


def missing(desk: Desk) -> None:
    pod = desk.made()
    assert [desk.rest("GET", f"/pods/{pod}")[0] for _ in range(2)] == [404, 200]


def partial(desk: Desk) -> None:
    for _ in range(4):
        desk.made()
    counts = [len(desk.rest("GET", "/pods")[1]["pods"]) for _ in range(2)]
    assert counts == [2, 4]


def stale(desk: Desk) -> None:
    desk.made()
    assert desk.rest("GET", "/pods")[1]["pods"] == []
    assert len(desk.rest("GET", "/pods")[1]["pods"]) == 1


def price(desk: Desk) -> None:
    gpus = desk.rest("GET", "/catalog/gpus")[1]["gpus"]
    assert {gpu["price"]["secure"] for gpu in gpus if gpu["secure"]} == {-1.0}


def unknown_gpu(desk: Desk) -> None:
    ids = [[gpu["id"] for gpu in desk.rest("GET", "/catalog/gpus")[1]["gpus"]] for _ in range(2)]
    assert ("NVIDIA Quux 9000" in ids[0], "NVIDIA Quux 9000" in ids[1]) == (True, False)


def clock_off(desk: Desk) -> None:
    pod = desk.made()
    told = [desk.rest("GET", f"/pods/{pod}")[1]["createdAt"] for _ in range(2)]
    assert told[0][11:13] != told[1][11:13]
    assert told[0][13:] == told[1][13:]


MEETINGS: dict[FaultKind, tuple[dict[str, Any], Callable[[Desk], None]]] = {
    FaultKind.THROTTLED: ({}, throttled),
    FaultKind.BROKEN: ({"status": 503}, refuses(503)),
    FaultKind.SILENT: ({}, silent),
    FaultKind.LATE: ({}, late),
    FaultKind.CUT: ({}, cut),
    FaultKind.HTML: ({"status": 200}, html),
    FaultKind.GARBLED: ({}, garbled),
    FaultKind.HUGE: ({}, huge),
    FaultKind.HALF: ({}, half),
    FaultKind.NO_CAPACITY: ({}, refuses(400)),
    FaultKind.UNAUTHORIZED: ({}, refuses(401)),
    FaultKind.FORBIDDEN: ({}, refuses(403)),
    FaultKind.NO_BALANCE: ({}, refuses(402)),
    FaultKind.ACCOUNT_LIMIT: ({}, refuses(402)),
    FaultKind.BAD_REQUEST: ({}, refuses(400)),
    FaultKind.SLOW_BOOT: ({}, slow_boot),
    FaultKind.FAILED_BOOT: ({}, failed_boot),
    FaultKind.ENDLESS_BOOT: ({}, endless_boot),
    FaultKind.INTERRUPTED: ({}, interrupted),
    FaultKind.GHOST: ({}, ghost),
    FaultKind.DOUBLED: ({}, doubled),
    FaultKind.LIE: ({"operation": "terminate"}, lie),
    FaultKind.DEAF: ({}, deaf),
    FaultKind.MISSING: ({}, missing),
    FaultKind.PARTIAL: ({}, partial),
    FaultKind.STALE: ({"operation": "list"}, stale),
    FaultKind.PRICE: ({"operation": "offers"}, price),
    FaultKind.UNKNOWN_GPU: ({}, unknown_gpu),
    FaultKind.CLOCK_OFF: ({"operation": "get"}, clock_off),
}


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_fault_is_met_and_does_what_it_says(desk: Desk, kind: FaultKind) -> None:
    fault, check = MEETINGS[kind]
    desk.fail(fault=kind, **fault)
    check(desk)


@pytest.mark.parametrize("kind", ["throttled", "broken", "silent", "cut", "html", "huge"])
def test_after_the_work_the_machine_is_there_and_the_answer_is_lost(desk: Desk, kind: str) -> None:
    desk.fail(fault=kind, when="after", operation="create")
    reply = desk.send("POST", "/v2/pods", POD)
    assert reply.answer is None or b"gng-1" not in reply.answer.body
    (pod,) = desk.rest("GET", "/pods")[1]["pods"]
    assert pod["name"] == "gng-1"


def test_a_request_is_counted_by_what_it_asks(desk: Desk) -> None:
    desk.made()
    desk.rest("GET", "/pods")
    desk.rest("GET", "/pods", key="wrong")
    assert desk.world.calls == {"create": 1, "list": 2}


def own(desk: Desk, method: str, path: str, body: object = None) -> tuple[int, Any]:
    answer = desk.send(method, "/stand-in/" + path, body, key=None).answer
    assert answer is not None
    return answer.status, json.loads(answer.body)


def test_faults_are_set_shown_and_cleared_while_it_runs(desk: Desk) -> None:
    assert own(desk, "POST", "faults", [{"fault": "cut", "next": 2}])[0] == 200
    assert own(desk, "GET", "faults")[1]["faults"][0]["next"] == 2
    assert own(desk, "DELETE", "faults")[1] == {"faults": []}
    status, said = own(desk, "POST", "faults", {"fault": "explode"})
    assert (status, "explode" in said["detail"]) == (400, True)


def test_a_machine_is_interrupted_or_failed_from_outside(desk: Desk) -> None:
    pod = desk.made()
    assert own(desk, "POST", f"machines/{pod}/interrupt")[1]["state"] == "interrupted"
    assert own(desk, "POST", f"machines/{pod}/fail")[0] == 409
    assert own(desk, "POST", f"machines/{pod}/dance")[0] == 400
    assert own(desk, "POST", "machines/none/fail")[0] == 409


def test_the_stock_is_changed_while_it_runs(desk: Desk) -> None:
    new = {"key": "quux", "gpu_name": "NVIDIA Quux", "capacity": 1, "price_nano": 1}
    assert own(desk, "PUT", "stocks", [new])[0] == 200
    ids = [gpu["id"] for gpu in desk.rest("GET", "/catalog/gpus")[1]["gpus"]]
    assert {"NVIDIA Quux", L4} <= set(ids)


def test_the_state_tells_the_truth_and_no_secret(desk: Desk) -> None:
    desk.made(env={"JOIN_TOKEN": "gjt_secret"}, args="sleep 1")
    status, state = own(desk, "GET", "state")
    assert (status, state["stand_in"], state["calls"]) == (200, "runpod", {"create": 1})
    assert state["machines"][0]["environment"] == ["JOIN_TOKEN"]
    assert "gjt_secret" not in json.dumps(state)
    assert own(desk, "GET", "elsewhere")[0] == 404
