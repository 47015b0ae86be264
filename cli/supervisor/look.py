"""What runs on a home now, seen from outside: its state file, its processes, the brain's health."""

from __future__ import annotations

from typing import Any

import httpx

from cli.embedded.child import alive
from cli.settings import RunnerSettings
from cli.supervisor.home import Home

SECONDS_MAX = 3.0


def look(settings: RunnerSettings) -> dict[str, Any]:
    """``running`` is whether a run holds the home; the rest is empty where it is not."""
    home = Home(settings.home)
    running = home.is_held()
    said = home.state() if running else {}
    parts = said.get("parts", {})
    return {
        "running": running,
        "home": str(settings.home),
        "pid": said.get("pid"),
        "phase": said.get("phase", "starting" if running else "stopped"),
        "brain_url": said.get("brain_url", ""),
        "gateway_url": said.get("gateway_url", ""),
        "parts": [{"name": name, **part, "state": _state(part)} for name, part in parts.items()],
        "dependencies": _dependencies(str(said.get("brain_url", ""))),
    }


def _state(part: dict[str, Any]) -> str:
    return "running" if part.get("pid") and alive(int(part["pid"])) else "stopped"


def _dependencies(brain_url: str) -> list[Any]:
    if not brain_url:
        return []
    try:
        answer = httpx.get(f"{brain_url}/health/dependencies", timeout=SECONDS_MAX)
        found: list[Any] = answer.json()["dependencies"]
    except (httpx.HTTPError, ValueError, KeyError):
        return []
    return found
