"""The brain's processes: those that agents speak to, and those that carry the ticks.

Made as ``brain.wiring`` makes them, of the same parts; only the database, the clock, ids and the
clouds' wires are the world's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace

from sqlalchemy.exc import SQLAlchemyError

from brain.bridges import DeploymentWatch
from brain.fleet import AgentFront, FrontTerms, Telemetry
from brain.fleet.telemetry import LastBeat
from brain.marketplace import JoinTerms
from brain.plumbing.sealing import Sealer
from brain.secrets import Vault
from brain.settings import Settings
from brain.wiring import Tick, WorkerParts
from catalog import Catalog
from kernel.ids import NodeId
from tests.sim.whole.process import INSTALLATION, Ground, Process
from tests.sim.whole.skies import Sky

SECRET = b"s" * 32
VAULT = Vault(Sealer(b"m" * 32))


class NoTelemetry(Telemetry):
    """Readings are for people; here nobody looks."""

    def __init__(self) -> None:
        pass

    async def keep(self, states: Mapping[NodeId, tuple[int, bytes]], *, beat_seconds: int) -> None:
        return None

    async def last(self, node_ids: Sequence[NodeId]) -> dict[NodeId, LastBeat]:
        return {}


class Web(Process):
    """One process in front of the agents. ``state`` is what routes find on the app."""

    def __init__(self, ground: Ground, name: str) -> None:
        super().__init__(ground, name)
        self.front = AgentFront(
            ctx=self.ctx,
            terms=FrontTerms(installation_id=INSTALLATION, secret=SECRET),
            telemetry=NoTelemetry(),
            watcher=DeploymentWatch(self.ctx),
            vault=VAULT,
        )
        terms = JoinTerms(INSTALLATION, "http://brain.test", beat_seconds=10)
        self.state = SimpleNamespace(ctx=self.ctx, agents=self.front, join_terms=terms)

    def flush(self) -> None:
        self.begin("flush", self._flush)

    def look(self) -> None:
        self.begin("look", self._look)

    async def _flush(self) -> None:
        await self._quietly(self.front.flush)

    async def _look(self) -> None:
        await self._quietly(self.front.look)

    async def _quietly(self, step: Callable[[], Awaitable[None]]) -> None:
        """As the front's own loops do: a database that is away is tried again."""
        with suppress(SQLAlchemyError, OSError, TimeoutError):
            await step()


class Worker(Process):
    """One process that carries ticks; one of a kind never runs twice at once in it."""

    def __init__(
        self,
        ground: Ground,
        name: str,
        settings: Settings,
        catalog: Catalog,
        skies: Sequence[Sky],
    ) -> None:
        super().__init__(ground, name)
        clouds = {sky.name: sky.cloud(self) for sky in skies}
        parts = WorkerParts(settings=settings, ctx=self.ctx, catalog=catalog, clouds=clouds)
        self.ticks: Mapping[str, Tick] = parts.ticks(lambda: self.dead)

    def tick(self, name: str) -> None:
        self.begin(name, self.ticks[name])
