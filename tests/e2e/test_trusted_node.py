"""A node earns trust on the running product, by the commands that its provider has."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cli.commands.trust import recomputed
from cli.supervisor.environment import ADMIN_EMAIL, PROVIDER_EMAIL
from cli.supervisor.home import Home
from tests.support.installation import Installation, command
from tests.support.wait import until

pytestmark = [pytest.mark.slow, pytest.mark.feature("C6")]


class Person:
    """Somebody who is logged in at the running product, with a home of their own."""

    def __init__(self, installation: Installation, home: Path, email: str, password: str) -> None:
        self.installation, self.home = installation, home
        home.mkdir()
        self.run("login", "--email", email, "--password-stdin", text=password + "\n")

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        extra = {"BRAIN_URL": self.installation.ready["brain_url"]}
        return command(self.home, *arguments, text=text, extra=extra)

    def ask(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, f"{arguments}: {done.stdout[-1500:]}{done.stderr[-1500:]}"
        return json.loads(done.stdout)


@pytest.fixture
def provider(installation: Installation, tmp_path: Path) -> Person:
    """Who offers the local node."""
    password = Home(installation.home).secrets()["PROVIDER_PASSWORD"]
    return Person(installation, tmp_path / "provider", PROVIDER_EMAIL, password)


@pytest.fixture
def admin(installation: Installation, tmp_path: Path) -> Person:
    password = Home(installation.home).secrets()["ADMIN_PASSWORD"]
    return Person(installation, tmp_path / "admin", ADMIN_EMAIL, password)


@pytest.fixture
def node(installation: Installation) -> str:
    found: str = installation.ready["node_id"]
    return found


async def test_the_agent_tells_of_its_machine_and_its_gpus_pass_their_checks(
    provider: Person, admin: Person, node: str
) -> None:
    admin.ask("admin", "checks", "run", node)

    def found() -> dict[str, Any] | None:
        told: dict[str, Any] = provider.ask("node", "checks", node)
        kinds = {one["kind"] for one in told["findings"] if one["passed"]}
        return told if {"answer", "memory", "speed", "preflight"} <= kinds else None

    told = await until(found, 120, every=1.0)
    points = {point["name"]: point for point in told["preflight"][0]["points"]}
    assert points["inbound"]["said"] == "no port is open"
    assert points["reach brain"]["said"] == "reached"
    assert told["preflight"][0]["fatal"] == ""
    assert not [one for one in told["findings"] if not one["passed"]]
    shown = provider.run("nodes", "checks", node).stdout
    assert "passed" in shown
    assert "Its machine" in shown


async def test_the_score_is_verified_by_the_command(installation: Installation, node: str) -> None:
    def found() -> str | None:
        done = installation.run("node", "reliability", node, "--verify")
        return done.stdout if done.returncode == 0 else None

    assert "Verified" in await until(found, 120, every=1.0)
    told = installation.ask("node", "reliability", node)
    assert recomputed(told)[0] == told["reliability_ppm"]


def test_maintenance_is_announced_listed_and_cancelled(provider: Person, node: str) -> None:
    begin = datetime.now(UTC) + timedelta(days=2)
    span = (begin.isoformat(), (begin + timedelta(hours=2)).isoformat())
    made = provider.ask("node", "maintenance", "add", node, *span, "--reason", "new fans")
    assert made["late"] is False
    listed = provider.ask("node", "maintenance", "list", node)
    assert (listed[-1]["window_id"], listed[-1]["state"]) == (made["window_id"], "announced")
    gone = provider.ask("node", "maintenance", "cancel", node, made["window_id"])
    assert gone["state"] == "cancelled"
    refused = provider.run("node", "maintenance", "add", node, "yesterday", "today")
    assert refused.returncode == 1
    assert "from" in refused.stderr


def test_modes_are_for_administrators(installation: Installation, admin: Person) -> None:
    refused = installation.run("admin", "checks")
    assert refused.returncode == 1
    assert "Only an administrator" in refused.stderr
    modes = {one["kind"]: one["mode"] for one in admin.ask("admin", "checks")}
    assert set(modes.values()) == {"shadow"}
    early = admin.run("admin", "checks", "set", "memory", "enforced")
    assert early.returncode == 1
    assert "7 are needed" in early.stderr
