"""The hand that runs work: what every engine can do, and how it fails."""

from __future__ import annotations

from asyncio import StreamReader, StreamWriter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kernel.errors import BadInput, Unavailable
from kernel.wire.agent import DesiredLease, SecretsAnswer, WorkUsage
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
    secrets: SecretsAnswer | None = field(default=None, repr=False)  # for this start alone


@dataclass(frozen=True)
class Hold:
    """One point of a tenant's isolation: whether it holds on this host, and why or why not."""

    name: str
    holds: bool
    detail: str = ""


class Exec(Protocol):
    """A program that was started beside the work, in the same container."""

    reader: StreamReader
    writer: StreamWriter

    async def resize(self, columns: int, rows: int) -> bool:
        """False while its terminal is not open yet, or not any more."""
        ...

    async def signal(self, name: str) -> None:
        """``name`` without SIG, to the program and what it started in its session."""
        ...

    async def exit_code(self) -> int | None:
        """Its exit code when it has ended, else None."""
        ...

    async def close(self) -> None:
        """End what still runs of it, and the connection. May be repeated."""
        ...


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

    async def usage(self, work: Work) -> WorkUsage | None:
        """What the work uses now, or None where that is not known; raises ``EngineAway``."""
        ...

    async def written_mib(self, work: Work) -> int | None:
        """What it has written beside its volumes; None where that is not known. Costly."""
        ...

    async def gpu_trouble(self, work: Work) -> str:
        """Why the work does not see its GPUs any more, though it should; empty when it does,
        and where that cannot be asked. Raises ``EngineAway``."""
        ...

    async def execute(self, work: Work, command: list[str], *, tty: bool, env: list[str]) -> Exec:
        """Start a program beside the work; raises ``StartRefused`` or ``EngineAway``."""
        ...

    async def hardening(self) -> list[Hold]:
        """What holds of a tenant's isolation here, and what does not. Never raises."""
        ...

    async def tidy(self, installation_id: str, busy: set[str]) -> None:
        """Remove what nobody uses; ``busy`` are leases with work or a job in flight."""
        ...

    async def close(self) -> None: ...


def log_path(work_home: Path, lease_id: str) -> Path:
    """Where one lease's output lies on this host, over all its runs."""
    return work_home / lease_id / "output.log"
