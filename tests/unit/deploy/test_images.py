"""Dockerfile.brain, docker-compose.prod.yml and .env.example hold what production needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = (ROOT / "Dockerfile.brain").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.prod.yml").read_text())
pytestmark = pytest.mark.feature("O5")


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def test_the_image_is_built_in_stages_and_does_not_run_as_root() -> None:
    words = [word for word, _ in instructions()]
    users = [rest for word, rest in instructions() if word == "USER"]
    assert words.count("FROM") >= 2
    assert users[-1] not in ("root", "0")
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")


def test_everything_the_image_copies_exists() -> None:
    copied = [rest for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    sources = [source for rest in copied for source in rest.split()[:-1]]
    assert sources
    assert all((ROOT / source).exists() for source in sources), sources


def test_the_image_installs_the_hashed_lock_only() -> None:
    installs = [rest for word, rest in instructions() if word == "RUN" and "install -r" in rest]
    assert "--require-hashes -r /tmp/requirements.lock" in DOCKERFILE
    assert not installs


@pytest.mark.parametrize("service", sorted(COMPOSE["services"]))
def test_every_service_has_a_health_check_and_a_restart_rule(service: str) -> None:
    body = COMPOSE["services"][service]
    assert "healthcheck" in body
    assert "restart" in body
    one_shot = body["restart"] == "no"
    assert one_shot or body["healthcheck"].get("test")


def test_nothing_is_published_beyond_loopback() -> None:
    ports = [p for body in COMPOSE["services"].values() for p in body.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_image_tells_of_each_port_that_is_published() -> None:
    ports = [p for body in COMPOSE["services"].values() for p in body.get("ports", [])]
    exposed = {port for word, rest in instructions() if word == "EXPOSE" for port in rest.split()}
    assert {port.rpartition(":")[2] for port in ports} == exposed


def test_the_page_names_each_service_and_who_writes_a_volume() -> None:
    page = (ROOT / "docs" / "deployment.md").read_text()
    known_as = {"postgres": "PostgreSQL 18", "valkey": "Valkey 9", "migrate": "migrations"}
    ours = {n: b for n, b in COMPOSE["services"].items() if n not in ("postgres", "valkey")}
    first = page.partition("```")[0]
    assert [name for name in COMPOSE["services"] if known_as.get(name, name) not in first] == []
    writers = [name for name, body in ours.items() if body.get("volumes")]
    said = page.partition("it writes two volumes:")[2].partition(".")[0]
    assert [f"{name}'s" in said for name in writers] == [True, True]


def test_every_module_that_a_service_runs_exists() -> None:
    commands = [body.get("command", []) for body in COMPOSE["services"].values()]
    modules = [c[c.index("-m") + 1] for c in commands if "-m" in c]
    modules += [c[c.index("-A") + 1] for c in commands if "-A" in c]
    ours = [m for m in modules if m != "celery"]
    assert ours
    places = [ROOT / m.replace(".", "/") for m in ours]
    there = [p.with_suffix(".py").exists() or (p / "__main__.py").exists() for p in places]
    assert all(there), ours


def test_every_variable_that_compose_demands_is_in_the_example() -> None:
    demanded = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.prod.yml").read_text()))
    named = set(re.findall(r"^#? ?(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert demanded <= named
