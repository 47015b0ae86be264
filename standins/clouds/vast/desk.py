"""What every part of the emulated Vast.ai looks at: one account over one world, and one call."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kernel.clock import NS
from kernel.money import NANO
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.shell import Answer, Request, as_json
from standins.clouds.world import World

SEARCHES_PER_DAY = 10_000
RESULTS_MAX = 200
DAY_SECONDS = 86_400
# Vast.ai tells storage and traffic per GB, storage by the month of 30 days; ours are per GiB.
GIB_IN_GB = 1.073741824
MONTH_HOURS = 720


class Says(Refused):
    """A refusal with the cloud's own code, words and status, and what else its body holds."""

    def __init__(self, status: int, code: str, msg: str, **more: object) -> None:
        super().__init__(Trouble.BAD_REQUEST, msg, status=status)
        self.code = code
        self.more = more


@dataclass(slots=True)
class Desk:
    """The account: its keys, volumes and the results that wait to be fetched."""

    world: World
    key: str
    searches_per_day: int
    ssh_keys: dict[int, dict[str, Any]] = field(default_factory=dict)
    volumes: dict[int, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    searched: tuple[int, int] = (0, 0)  # the day, and how many searches it has seen
    _count: int = 0

    def number(self) -> int:
        """Of something that is no machine."""
        self._count += 1
        return 1000 + self._count

    def count_search(self) -> None:
        """A day's searches are counted, until midnight UTC."""
        day = self.world.now_ns // (DAY_SECONDS * NS)
        used = self.searched[1] if self.searched[0] == day else 0
        if used >= self.searches_per_day:
            raise Says(429, "search_quota_exceeded", "Daily search quota exceeded")
        self.searched = (day, used + 1)

    def quota_reset(self) -> int:
        """The coming midnight, in seconds of the epoch."""
        return (self.world.now_ns // (DAY_SECONDS * NS) + 1) * DAY_SECONDS

    def keep_result(self, request: Request, text: str) -> str:
        """Where a text can be fetched for a while, without a key, as from an object store."""
        token = f"{self.world.chance.getrandbits(128):032x}"
        self.results[token] = text
        for old in list(self.results)[:-RESULTS_MAX]:
            del self.results[old]
        host = request.headers.get("host", "127.0.0.1")
        return f"http://{host}/results/{token}"

    def seconds(self, at_ns: int) -> float:
        """A time as this cloud tells it, by a clock that a fault may put off."""
        return (at_ns + self.world.told_ns) / NS

    def iso(self, at_ns: int) -> str:
        return datetime.fromtimestamp(self.seconds(at_ns), UTC).isoformat()


@dataclass(slots=True)
class Call:
    """One request, with the numbers in its path and its JSON object."""

    request: Request
    numbers: tuple[int, ...]
    body: dict[str, Any]

    @property
    def number(self) -> int:
        return self.numbers[0]

    @property
    def machine_id(self) -> str:
        return str(self.numbers[0])


def success(**more: object) -> Answer:
    return as_json({"success": True, **more})


def dollars(nano: int) -> float:
    return nano / NANO


def bad(msg: str) -> Says:
    return Says(400, "invalid_args", msg)
