"""The hand that runs work: what every engine can do, and how it fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kernel.errors import BadInput, Unavailable
from kernel.wire.agent import DesiredLease
from node_agent.records import Work
from node_agent.report import Progress


class EngineAway(Unavailable):
    """The engine does not answer: nothing is known about the work, so nothing is decided."""

    code = "engine_away"


class StartFailed(Unavailable):
    """This start failed; another may do better. Nothing of it is left behind."""

    code = "start_failed"


class StartRefused(BadInput):
    """No start of this launch can work here."""

    code = "start_refused"


@dataclass(frozen=True)
class Order:
    """One start: the lease with its launch, and whose installation it is."""

    lease: DesiredLease
    installation_id: str
    simulated: bool  # the GPUs are simulated: ask for no device


class Engine(Protocol):
    """All calls return within their own limits. ``end`` and ``collect_logs`` may be repeated."""

    @property
    def kind(self) -> str: ...

    async def version(self) -> str | None:
        """The engine's version, or None where it has none or is away."""
        ...

    async def look(self) -> tuple[Work, ...]:
        """All work of any installation that this hand can see; raises ``EngineAway``."""
        ...

    async def start(self, order: Order, progress: Progress) -> None:
        """Start the work; raises ``StartFailed``, ``StartRefused`` or ``EngineAway``.

        When it raises or is cancelled it leaves nothing behind.
        """
        ...

    async def end(self, work: Work, drain_seconds: float) -> None:
        """Ask the work to stop, force it at the end of the drain, remove it.

        Returns when it is gone; raises ``EngineAway`` when that could not be seen.
        """
        ...

    async def collect_logs(self, work: Work) -> None:
        """Bring what the work has printed into :func:`log_path`, within the quota."""
        ...

    async def close(self) -> None: ...


def log_path(work_home: Path, lease_id: str) -> Path:
    """Where one lease's output lies on this host, over all its runs."""
    return work_home / lease_id / "output.log"
