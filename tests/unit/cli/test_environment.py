"""Each child finds its own settings, and no other part's secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.supervisor import environment
from cli.supervisor.environment import Layout
from cli.supervisor.home import MADE_ONCE

SECRETS = {name: f"secret of {name}" for name in MADE_ONCE}
LAYOUT = Layout(
    home=Path("/home/g"),
    brain_host="0.0.0.0",
    brain_port=8000,
    gateway_host="::",
    gateway_port=8080,
    database_url="postgresql://ganglion:hush@/x",
    redis_url="unix:///x",
)
OUTSIDE = {"PATH": "/bin", "DATABASE_URL": "hush", "JWT_SECRET_KEY": "hush", "PYTHONPATH": "/evil"}


def test_the_agent_gets_no_secret_of_the_brain() -> None:
    found = environment.agent(LAYOUT, OUTSIDE, simulate_gpus=2, join_token="")
    assert not {"DATABASE_URL", "JWT_SECRET_KEY", "GATEWAY_TOKEN", "JOIN_TOKEN"} & set(found)
    assert "hush" not in str(found)


def test_the_gateway_gets_its_token_and_nothing_else_secret() -> None:
    found = environment.gateway(LAYOUT, SECRETS, {"PATH": "/bin"})
    told = [name for name, secret in SECRETS.items() if secret in found.values()]
    assert told == ["GATEWAY_TOKEN"]


def test_the_front_gets_the_gateways_token_and_its_ports() -> None:
    found = environment.front(LAYOUT, SECRETS, {"PATH": "/bin"})
    told = [name for name, secret in SECRETS.items() if secret in found.values()]
    assert told == ["GATEWAY_TOKEN"]
    assert (found["POD_FRONT_PORT"], found["SSH_PORT"]) == ("8081", "2222")
    assert found["SSH_HOST_KEY_DIR"].startswith(str(LAYOUT.home))


def test_the_brain_gets_its_secrets_but_no_passwords() -> None:
    found = environment.brain(LAYOUT, SECRETS, {"PATH": "/bin"})
    assert found["JWT_SECRET_KEY"] == SECRETS["JWT_SECRET_KEY"]
    assert SECRETS["DEMO_PASSWORD"] not in found.values()


def test_what_the_caller_set_wins_over_our_defaults() -> None:
    found = environment.brain(LAYOUT, SECRETS, {"MINIMUM_CREDITS_FOR_API_KEY": "7"})
    assert found["MINIMUM_CREDITS_FOR_API_KEY"] == "7"


def test_children_find_our_code_and_nobody_elses() -> None:
    assert environment.common(OUTSIDE)["PYTHONPATH"] == str(environment.CLONE)


@pytest.mark.parametrize(
    ("layout_url", "shown"),
    [("brain_url", "http://127.0.0.1:8000"), ("gateway_url", "http://[::1]:8080")],
)
def test_an_address_to_listen_on_is_told_as_one_to_call(layout_url: str, shown: str) -> None:
    assert getattr(LAYOUT, layout_url) == shown


def test_keys_of_clouds_reach_the_brain_alone() -> None:
    outside = {"PATH": "/bin", "RUNPOD_API_KEY": "rpa_1", "VAST_API_KEY": "2", "LAMBDA_API_KEY": ""}
    keys = {"RUNPOD_API_KEY": "rpa_1", "VAST_API_KEY": "2"}
    assert environment.brain(LAYOUT, SECRETS, outside).items() >= keys.items()
    agent = environment.agent(LAYOUT, outside, simulate_gpus=1, join_token="")
    assert not (keys.keys() & (agent | environment.gateway(LAYOUT, SECRETS, outside)).keys())
