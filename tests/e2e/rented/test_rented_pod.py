"""Pods on machines rented at an emulated RunPod: our agent runs the stand-in's image there, and any
other runs without it where its owner asks for that; at the stop the machine is given back."""

from __future__ import annotations

import pytest

from tests.e2e.rented.test_rented_journey import standing
from tests.support.installation import Installation
from tests.support.wait import until


@pytest.mark.feature("E1", "B1")
async def test_a_pod_is_rented_a_machine_which_is_given_back(
    runpod: str, product: Installation
) -> None:
    made = product.ask("pod", "create", "ganglion/stand-in:dev", "--name", "cloudy", "--simulated")
    assert (made["state"], made["reachable"]) == ("running", True)
    other = product.ask("pod", "create", "busybox:1.36", "--name", "other", "--no-wait")
    why = product.ask("pod", "why", "other")["candidates"]
    assert all("without our agent" in c["reasons"][0] for c in why if c["cloud"])
    assert other["state"] == "waiting"
    assert product.ask("pod", "delete", "other")["state"] == "terminated"
    before = len(standing(runpod))  # the shared pool has one of its own
    assert product.ask("pod", "stop", "cloudy")["state"] == "stopped"
    await until(lambda: len(standing(runpod)) == before - 1, seconds=120, every=1)
    again = product.ask("pod", "start", "cloudy")
    assert (again["slug"], again["state"]) == (made["slug"], "running")
    assert again["run"]["node_id"] != made["run"]["node_id"]
    assert len(standing(runpod)) == before
    assert product.ask("pod", "delete", "cloudy")["state"] == "terminated"
    await until(lambda: len(standing(runpod)) == before - 1, seconds=120, every=1)
    await _without_agent(product, runpod, before - 1)


async def _without_agent(product: Installation, runpod: str, before: int) -> None:
    """The cloud runs the image by itself, and the product says what that means."""
    wanted = ("--clouds", "--port", "8888", "--budget", "5", "--env", "A=b")
    own = product.ask(
        "pod", "create", "busybox:1.36", "sleep", "infinity", "--name", "own", *wanted
    )
    assert (own["state"], own["agent"], own["cloud"]) == ("running", "none", "runpod")
    assert (own["ssh"], own["reachable"], own["ports"]) == (
        None,
        False,
        [{"port": 8888, "url": None}],
    )
    assert len(standing(runpod)) == before + 1
    await until(lambda: product.ask("pod", "show", "own")["endpoints"], seconds=120, every=1)
    (way,) = product.ask("pod", "show", "own")["endpoints"]
    assert (way["port"], way["kind"]) == (8888, "http")
    assert "without our agent" in product.run("pod", "show", "own").stdout
    for command in ("logs", "url", "ssh", "stats"):
        refused = product.run("pod", command, "own")
        assert refused.returncode != 0
        assert "without our agent" in refused.stdout + refused.stderr
    assert product.ask("pod", "stop", "own")["state"] == "stopped"
    assert len(standing(runpod)) == before, "it is stopped when the cloud has proved its end"
    assert product.ask("pod", "delete", "own")["state"] == "terminated"
