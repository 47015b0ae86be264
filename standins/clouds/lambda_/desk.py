"""What every part of the emulated Lambda looks at: one account over one world, and one call."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kernel.clock import NS
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.shell import Answer, Request, as_json
from standins.clouds.world import World

REGIONS = {
    "us-west-1": "California, USA",
    "us-west-2": "Arizona, USA",
    "us-west-3": "Utah, USA",
    "us-east-1": "Virginia, USA",
    "us-east-2": "Washington, D.C., USA",
    "us-east-3": "Washington, D.C., USA",
    "us-south-1": "Texas, USA",
    "us-south-2": "North Texas, USA",
    "us-south-3": "Central Texas, USA",
    "us-midwest-1": "Illinois, USA",
    "us-midwest-2": "Illinois, USA",
    "europe-central-1": "Germany",
    "asia-south-1": "India",
    "me-west-1": "Israel",
    "asia-northeast-1": "Osaka, Japan",
    "asia-northeast-2": "Tokyo, Japan",
    "australia-east-1": "Australia",
}


class Says(Refused):
    """A refusal with one of the cloud's own codes."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(Trouble.BAD_REQUEST, message, status=status)
        self.code = code


@dataclass(slots=True)
class Desk:
    """The account: its keys, filesystems and firewall rules."""

    world: World
    key: str
    capacity_lag_seconds: float
    ssh_keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    filesystems: dict[str, dict[str, Any]] = field(default_factory=dict)
    rulesets: dict[str, dict[str, Any]] = field(default_factory=dict)
    rules: list[dict[str, Any]] = field(default_factory=list)
    capacity: tuple[int, frozenset[str]] | None = None  # when it was looked at; the free stocks

    def new_id(self) -> str:
        return f"{self.world.chance.getrandbits(128):032x}"

    def iso(self, at_ns: int) -> str:
        """A time as this cloud tells it, by a clock that a fault may put off."""
        return datetime.fromtimestamp((at_ns + self.world.told_ns) / NS, UTC).isoformat()


@dataclass(slots=True)
class Call:
    """One request, with the id in its path and its JSON object."""

    request: Request
    place: str
    body: dict[str, Any]


def told(value: object) -> Answer:
    """Every good answer stands under ``data``."""
    return as_json({"data": value})


def region(name: str) -> dict[str, str]:
    return {"name": name, "description": REGIONS.get(name, name)}


def bad(message: str) -> Says:
    return Says(400, "global/invalid-parameters", message)


def absent(message: str) -> Refused:
    return Refused(Trouble.MISSING, message)


def duplicate(message: str) -> Says:
    return Says(400, "global/duplicate", message)


def text_of(body: dict[str, Any], name: str, length_max: int) -> str:
    """A text that is there and not too long."""
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= length_max:
        raise bad(f"{name} must be a text of 1 to {length_max} characters.")
    return value


def region_of(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value not in REGIONS:
        raise bad(f"{name} must be one of the regions.")
    return str(value)
