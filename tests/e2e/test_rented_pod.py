"""A pod on a machine rented at an emulated RunPod: our agent runs it there; at its stop the machine
is given back, and the pod's other images are told why no cloud can run them."""

from __future__ import annotations

import pytest

from tests.e2e.test_rented_journey import KEY, runpod, standing
from tests.support.installation import Installation
from tests.support.wait import until

__all__ = ["runpod"]
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("installation")]


@pytest.mark.feature("E1", "B1")
async def test_a_pod_is_rented_a_machine_which_is_given_back(
    runpod: str,
    fresh_installation: Installation,
) -> None:
    product = fresh_installation
    clouds = {
        "USE_MOCK_PROVIDERS": "false",
        "RUNPOD_API_KEY": KEY,
        "RUNPOD_API_BASE_URL": f"{runpod}/v2",
        "RUNPOD_GRAPHQL_URL": f"{runpod}/graphql",
    }
    ready = product.start("--no-node", extra=clouds)
    assert "brain_url" in ready, ready
    made = product.ask("pod", "create", "ganglion/stand-in:dev", "--name", "cloudy", "--simulated")
    assert (made["state"], made["reachable"]) == ("running", True)
    other = product.ask("pod", "create", "busybox:1.36", "--name", "other", "--no-wait")
    why = product.ask("pod", "why", "other")["candidates"]
    assert all("no image of a renter's own can run" in c["reasons"][0] for c in why if c["cloud"])
    assert other["state"] == "waiting"
    before = len(standing(runpod))  # the shared pool has one of its own
    assert product.ask("pod", "stop", "cloudy")["state"] == "stopped"
    await until(lambda: len(standing(runpod)) == before - 1, seconds=60, every=1)
    again = product.ask("pod", "start", "cloudy")
    assert (again["slug"], again["state"]) == (made["slug"], "running")
    assert again["run"]["node_id"] != made["run"]["node_id"]
    assert len(standing(runpod)) == before
    assert product.ask("pod", "delete", "cloudy")["state"] == "terminated"
    await until(lambda: len(standing(runpod)) == before - 1, seconds=60, every=1)
