"""A node earns trust on the running product, by the commands that its provider has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cli.commands.trust import recomputed
from tests.support.installation import Installation
from tests.support.wait import until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("installation"), pytest.mark.feature("C6")]


@pytest.fixture
def node(installation: Installation) -> str:
    found: str = installation.ask("nodes")[0]["node_id"]
    return found


async def test_the_agent_tells_of_its_machine_and_its_gpus_pass_their_checks(
    installation: Installation, node: str
) -> None:
    def found() -> dict[str, Any] | None:
        told: dict[str, Any] = installation.ask("node", "checks", node)
        kinds = {one["kind"] for one in told["findings"] if one["passed"]}
        return told if {"answer", "memory", "speed", "preflight"} <= kinds else None

    told = await until(found, 120, every=1.0)
    points = {point["name"]: point for point in told["preflight"][0]["points"]}
    assert points["inbound"]["said"] == "no port is open"
    assert points["reach brain"]["said"] == "reached"
    assert told["preflight"][0]["fatal"] == ""
    assert not [one for one in told["findings"] if not one["passed"]]
    shown = installation.run("nodes", "checks", node).stdout
    assert "passed" in shown
    assert "Its machine" in shown


async def test_the_score_is_verified_by_the_command(installation: Installation, node: str) -> None:
    def found() -> str | None:
        done = installation.run("node", "reliability", node, "--verify")
        return done.stdout if done.returncode == 0 else None

    assert "Verified" in await until(found, 120, every=1.0)
    told = installation.ask("node", "reliability", node)
    assert recomputed(told)[0] == told["reliability_ppm"]


def test_maintenance_is_announced_listed_and_cancelled(
    installation: Installation, node: str
) -> None:
    begin = datetime.now(UTC) + timedelta(days=2)
    span = (begin.isoformat(), (begin + timedelta(hours=2)).isoformat())
    made = installation.ask("node", "maintenance", "add", node, *span, "--reason", "new fans")
    assert made["late"] is False
    listed = installation.ask("node", "maintenance", "list", node)
    assert (listed[-1]["window_id"], listed[-1]["state"]) == (made["window_id"], "announced")
    gone = installation.ask("node", "maintenance", "cancel", node, made["window_id"])
    assert gone["state"] == "cancelled"
    refused = installation.run("node", "maintenance", "add", node, "yesterday", "today")
    assert refused.returncode == 1
    assert "from" in refused.stderr


def test_modes_are_for_administrators(installation: Installation) -> None:
    refused = installation.run("admin", "checks")
    assert refused.returncode == 1
    assert "Only an administrator" in refused.stderr
