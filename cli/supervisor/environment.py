"""What each child finds in its environment: its own settings, and no other part's secrets."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cli.settings import CLONE

# Taken out of what children inherit; each gets back what is its own.
SECRET_NAMES = frozenset(
    {
        *("DATABASE_URL", "REDIS_URL", "JWT_SECRET_KEY", "MASTER_KEY", "GATEWAY_TOKEN"),
        *("ADMIN_PASSWORD", "PROVIDER_PASSWORD", "DEMO_PASSWORD", "JOIN_TOKEN", "METRICS_TOKEN"),
        *("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME"),
    }
)
OUTSIDE_KEYS = "_API_KEY"  # so end the names of our keys at others' services: the brain's alone
STAND_IN = "ganglion/stand-in"
PROCESSES = "process"  # what AGENT_ENGINE is here where nothing else is said
DEMO_EMAIL = "demo@example.com"
ADMIN_EMAIL = "admin@example.com"
PROVIDER_EMAIL = "local-node@example.com"


@dataclass(frozen=True)
class Layout:
    """Where everything of one run is."""

    home: Path
    brain_host: str
    brain_port: int
    gateway_host: str
    gateway_port: int
    database_url: str
    redis_url: str
    front_host: str = "127.0.0.1"
    front_port: int = 8081
    ssh_host: str = "127.0.0.1"
    ssh_port: int = 2222

    @property
    def brain_url(self) -> str:
        return f"http://{_reachable(self.brain_host)}:{self.brain_port}"

    @property
    def gateway_url(self) -> str:
        return f"http://{_reachable(self.gateway_host)}:{self.gateway_port}"


def python_module(*arguments: str) -> list[str]:
    """``python -P -m …``: the current folder's files are not mistaken for ours."""
    return [sys.executable, "-P", "-m", *arguments]


def big_program(*arguments: str) -> list[str]:
    """The same for one that imports a lot, and that knows when it is ready."""
    return python_module("cli.program", *arguments)


def common(outside: Mapping[str, str]) -> dict[str, str]:
    """What every child gets: the caller's environment without secrets, our code on the path."""
    kept = {
        name: value
        for name, value in outside.items()
        if name not in SECRET_NAMES and not name.endswith(OUTSIDE_KEYS)
    }
    return {**kept, "PYTHONPATH": str(CLONE), "PYTHONUNBUFFERED": "1"}


def brain(layout: Layout, secrets: Mapping[str, str], outside: Mapping[str, str]) -> dict[str, str]:
    """For the brain, its worker and its own commands. What the caller set wins over defaults."""
    defaults = {
        "ENVIRONMENT": "development",
        "USE_MOCK_PROVIDERS": "true",
        "MINIMUM_CREDITS_FOR_API_KEY": "0",
        "API_RATE_LIMIT": "1000000",
        "DEMO_ACCOUNT": "true",
        "PUBLIC_BRAIN_URL": layout.brain_url,
        "PUBLIC_GATEWAY_URL": layout.gateway_url,
        "BEAT_SECONDS": "5",
        "FAKE_CLOUD_DIR": str(layout.home / "fake-cloud"),
    }
    own = ("JWT_SECRET_KEY", "MASTER_KEY", "GATEWAY_TOKEN", "INSTALLATION_ID")
    given = {name: outside.get(name) or secrets[name] for name in own}
    return {
        **defaults,
        **common(outside),
        **given,
        **{name: value for name, value in outside.items() if name.endswith(OUTSIDE_KEYS)},
        **({"METRICS_TOKEN": outside["METRICS_TOKEN"]} if outside.get("METRICS_TOKEN") else {}),
        "DATABASE_URL": layout.database_url,
        "REDIS_URL": layout.redis_url,
        "BRAIN_HOST": layout.brain_host,
        "BRAIN_PORT": str(layout.brain_port),
        "BRAIN_URL": layout.brain_url,
        "POD_FRONT_PORT": str(layout.front_port),
        "SSH_PORT": str(layout.ssh_port),
    }


def gateway(
    layout: Layout, secrets: Mapping[str, str], outside: Mapping[str, str]
) -> dict[str, str]:
    """It drains and ships what it counted within the few seconds that a stop has."""
    defaults = {
        "GATEWAY_SPOOL_DIR": str(layout.home / "gateway" / "spool"),
        "GATEWAY_DRAIN_SECONDS": "2",
        "GATEWAY_FLUSH_SECONDS": "2",
    }
    return {
        **defaults,
        **common(outside),
        "GATEWAY_TOKEN": outside.get("GATEWAY_TOKEN") or secrets["GATEWAY_TOKEN"],
        "BRAIN_URL": layout.brain_url,
        "GATEWAY_HOST": layout.gateway_host,
        "GATEWAY_PORT": str(layout.gateway_port),
    }


def front(layout: Layout, secrets: Mapping[str, str], outside: Mapping[str, str]) -> dict[str, str]:
    """The front of pods: their ports over HTTP, and SSH."""
    defaults = {
        "SSH_HOST_KEY_DIR": str(layout.home / "front" / "ssh"),
        "POD_DRAIN_SECONDS": "2",
    }
    return {
        **defaults,
        **common(outside),
        "GATEWAY_TOKEN": outside.get("GATEWAY_TOKEN") or secrets["GATEWAY_TOKEN"],
        "BRAIN_URL": layout.brain_url,
        "POD_FRONT_HOST": layout.front_host,
        "POD_FRONT_PORT": str(layout.front_port),
        "SSH_HOST": layout.ssh_host,
        "SSH_PORT": str(layout.ssh_port),
    }


def agent(
    layout: Layout, outside: Mapping[str, str], *, simulate_gpus: int, join_token: str
) -> dict[str, str]:
    """A node on this machine whose work ends with it."""
    defaults = {"AGENT_ENGINE": PROCESSES, "AGENT_NAME": "local"}
    joining = {"JOIN_TOKEN": join_token} if join_token else {}
    return {
        **defaults,
        **common(outside),
        **joining,
        "BRAIN_URL": layout.brain_url,
        "AGENT_HOME": str(layout.home / "agent"),
        "AGENT_STOP_WORK_ON_EXIT": "1",
        "SIMULATE_GPUS": str(simulate_gpus),
    }


def runs_containers(outside: Mapping[str, str]) -> bool:
    """Whether the local node is to run work in Docker: only where that is asked for."""
    return (outside.get("AGENT_ENGINE") or PROCESSES) != PROCESSES


def _reachable(host: str) -> str:
    """An address to call for one to listen on."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, host)
    return f"[{shown}]" if ":" in shown and not shown.startswith("[") else shown
