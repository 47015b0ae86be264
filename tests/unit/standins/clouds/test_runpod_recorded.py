"""Requests as the ``runpod`` package 1.12.0 was seen to send them: each is understood.

They keep their proof where the package itself cannot be had.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from standins.clouds.shell import Request
from tests.support.runpod_desk import KEY, Desk

RECORDED = json.loads(Path(__file__).with_name("recorded_runpod.json").read_text())


def sent(desk: Desk, recorded: dict[str, str], pod: str, job: str) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    path = recorded["path"].replace("j1", job)
    body = recorded["body"].replace('\\"p1\\"', f'\\"{pod}\\"').encode()
    answer = desk.shell.respond(Request(recorded["method"], path, {}, headers, body)).answer
    assert answer is not None
    return answer.status, json.loads(answer.body)


@pytest.mark.parametrize("number", range(len(RECORDED)))
def test_a_recorded_request_is_done(number: int) -> None:
    desk, recorded = Desk(), RECORDED[number]
    pod = desk.made()
    desk.clock.advance(10)
    if "podResume" in recorded["body"]:
        desk.world.stop(pod)
    job = desk.rest("POST", "/ep/run", {"input": {"prompt": "x"}})[1]["id"]
    status, body = sent(desk, recorded, pod, job)
    assert (status, body.get("errors")) == (200, None)
    assert None not in (body.get("data") or {"": ""}).values() or "podTerminate" in body["data"]
