"""What people see of nodes through the API: telemetry, age, what is free and what is simulated."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from brain.plumbing import Ctx
from brain.settings import Settings
from kernel.clock import ManualClock
from kernel.ids import AccountId
from tests.support.brain import Somebody, settings_for_tests, signed_up
from tests.support.fleet import Rig, gpu


@pytest.fixture
def settings(database_url: str, valkey_url: str) -> Settings:
    return settings_for_tests(database_url, redis_url=valkey_url)


@pytest.fixture
async def provider(brain: httpx.AsyncClient) -> Somebody:
    return await signed_up(brain)


@pytest.fixture
def rig(
    ctx: Ctx, clock: ManualClock, app: FastAPI, brain: httpx.AsyncClient, provider: Somebody
) -> Rig:
    return Rig(ctx, clock, app.state.agents, brain, AccountId(provider.account_id))


async def listed(brain: httpx.AsyncClient, who: Somebody) -> list[dict[str, Any]]:
    answer = await brain.get("/api/v1/nodes", headers=who.headers)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


@pytest.mark.feature("C3")
@pytest.mark.feature("C7")
async def test_a_node_shows_what_it_last_reported(
    brain: httpx.AsyncClient, rig: Rig, provider: Somebody
) -> None:
    await rig.agent(gpu("GPU-a", utilisation_percent=42, power_mw=70_500), gpu("GPU-b"))
    rig.clock.advance(7)
    (node,) = await listed(brain, provider)
    assert (node["state"], node["age_seconds"], node["yours"]) == ("online", 7.0, True)
    assert (node["gpus_total"], node["gpus_free"], node["simulated"]) == (2, 2, False)
    assert node["gpus"][0]["utilisation_percent"] == 42
    assert node["gpus"][0]["power_watts"] == 70.5
    assert node["host"]["cpu_count"] == 8


@pytest.mark.feature("C3")
async def test_a_gpus_health_is_shown_with_its_reasons_and_in_words(
    brain: httpx.AsyncClient, rig: Rig, provider: Somebody
) -> None:
    worn = gpu("GPU-a", xids={79: 1}, throttle_reasons=0x44, compute_mode=3, pcie_width=8)
    hot = gpu("GPU-b", throttle_reasons=0x20, energy_mj=5_000, recovery_action=0)
    await rig.agent(worn, hot)
    (node,) = await listed(brain, provider)
    first, second = node["gpus"]
    assert (first["health"], first["free"], node["gpus_free"]) == ("bad", False, 1)
    assert "fell off the bus" in first["health_reasons"][0]
    assert first["throttled_by"] == ["power cap", "thermal slowdown by the hardware"]
    assert (first["compute_mode"], first["pcie_width"]) == ("exclusive process", 8)
    assert first["xids"] == {"79": 1}
    assert (second["health"], second["free"]) == ("degraded", True)
    assert (second["energy_joules"], second["recovery_action"]) == (5.0, "none")


@pytest.mark.feature("C3")
async def test_a_bad_gpu_stays_bad_in_the_view_when_its_readings_are_gone(
    ctx: Ctx, brain: httpx.AsyncClient, rig: Rig, provider: Somebody
) -> None:
    agent = await rig.agent(gpu("GPU-a", rows_failed=True))
    await rig.front.telemetry.valkey.delete(f"ganglion:beat:{agent.node_id}")
    (node,) = await listed(brain, provider)
    assert (node["gpus"][0]["health"], node["gpus"][0]["free"]) == ("bad", False)
    assert node["host"] is None


async def test_simulated_gpus_say_so_on_the_node_and_on_each(
    brain: httpx.AsyncClient, rig: Rig, provider: Somebody
) -> None:
    await rig.agent(gpu("SIM-1", "Simulated GPU", simulated=True))
    (node,) = await listed(brain, provider)
    assert (node["simulated"], node["nvml"]) == (True, "simulated")
    assert [one["simulated"] for one in node["gpus"]] == [True]


async def test_a_held_gpu_is_not_free(
    brain: httpx.AsyncClient, rig: Rig, provider: Somebody
) -> None:
    agent = await rig.agent(count=2)
    await rig.claim(agent)
    (node,) = await listed(brain, provider)
    assert (node["gpus_free"], node["leases"]) == (1, 1)
    assert [one["free"] for one in node["gpus"]] == [False, True]


async def test_a_node_that_is_not_heard_is_shown_as_silent(
    brain: httpx.AsyncClient, rig: Rig, provider: Somebody
) -> None:
    await rig.agent()
    rig.clock.advance(30)
    (node,) = await listed(brain, provider)
    assert (node["state"], node["state_reason"]) == ("silent", "last heard 30 s ago")


async def test_a_node_that_is_not_listed_is_seen_by_its_provider_only(
    brain: httpx.AsyncClient, rig: Rig, provider: Somebody
) -> None:
    agent = await rig.agent()
    other = await signed_up(brain)
    assert [node["yours"] for node in await listed(brain, other)] == [False]
    path = f"/api/v1/provider/nodes/{agent.node_id}"
    await brain.patch(path, json={"listed": False}, headers=provider.headers)
    assert await listed(brain, other) == []
    assert len(await listed(brain, provider)) == 1


async def test_nodes_come_in_pages(brain: httpx.AsyncClient, rig: Rig, provider: Somebody) -> None:
    for _ in range(3):
        await rig.agent()
    first = await brain.get("/api/v1/nodes?limit=2", headers=provider.headers)
    path = f"/api/v1/nodes?limit=2&cursor={first.json()['next']}"
    second = await brain.get(path, headers=provider.headers)
    assert [len(page.json()["items"]) for page in (first, second)] == [2, 1]
    assert second.json()["next"] is None
