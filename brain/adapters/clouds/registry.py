"""Which clouds there are: one line each in pyproject.toml, found in a clone and when installed."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from brain.adapters.clouds.settings import CloudSettings
from brain.clouds import Cloud
from kernel.clock import Clock

GROUP = "ganglion.clouds"
PYPROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"

Open = Callable[[CloudSettings, Clock], Cloud | None]


def registered() -> dict[str, EntryPoint]:
    """Each cloud's registration by its name.

    In a clone the product runs without being installed, so its own lines are read from
    pyproject.toml; adapters in other distributions come from their entry points, and cannot take
    a name that is ours.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    return found | (_in_clone(PYPROJECT) if PYPROJECT.exists() else {})


def open_clouds(settings: CloudSettings, clock: Clock) -> dict[str, Cloud]:
    """The clouds that this installation has an account at, by name. Nothing is called yet.

    Raises what an adapter raises that cannot be loaded: a cloud that is set but silently absent
    would leave its machines without a sweeper.
    """
    opened: dict[str, Cloud] = {}
    for name, point in sorted(registered().items()):
        open_one: Open = point.load()
        cloud = open_one(settings, clock)
        if cloud is not None:
            assert cloud.name == name, f"the cloud registered as {name} calls itself {cloud.name}"
            opened[name] = cloud
    return opened


def _in_clone(pyproject: Path) -> dict[str, EntryPoint]:
    project = tomllib.loads(pyproject.read_text())["project"]
    if project["name"] != "ganglion":
        return {}  # installed beside another project's file
    lines: dict[str, str] = project.get("entry-points", {}).get(GROUP, {})
    return {name: EntryPoint(name, value, GROUP) for name, value in lines.items()}
