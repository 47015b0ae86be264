"""The brain's processes: those that agents speak to, and those that carry the ticks.

Made as ``brain.wiring`` makes them, of the same parts; only the database, the clock, ids and the
clouds' wires are the world's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import SimpleNamespace

from sqlalchemy.exc import SQLAlchemyError

from brain.fleet import AgentFront, FrontTerms, Telemetry
from brain.fleet.telemetry import LastBeat
from brain.marketplace import JoinTerms
from brain.settings import Settings
from brain.wiring import DeploymentWatch, Tick, WorkerParts
from catalog import Catalog
from kernel.ids import NodeId
from tests.sim.whole.process import Ground, Process
from tests.sim.whole.skies import Sky

INSTALLATION = "simulated"
SECRET = b"s" * 32


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
        )
        terms = JoinTerms(INSTALLATION, "http://brain.test", beat_seconds=10)
        self.state = SimpleNamespace(ctx=self.ctx, agents=self.front, join_terms=terms)

    def flush(self) -> None:
        self.begin("flush", self._flush)

    def look(self) -> None:
        self.begin("look", self._look)

    async def _flush(self) -> None:
        if await self._quietly(self.front.flush):
            self.ground.flushed_ns.append(self.ground.clock.now_ns())

    async def _look(self) -> None:
        await self._quietly(self.front.look)

    async def _quietly(self, step: Callable[[], Awaitable[None]]) -> bool:
        """As the front's own loops do: a database that is away is tried again."""
        try:
            await step()
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            self.note(f"database away: {error}")
            return False
        return True


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
        from brain import deployments, fleet, offers, provisioning, billing
        from brain.deployments import tasks
        clouds = {sky.name: sky.cloud(self) for sky in skies}
        watcher = DeploymentWatch(self.ctx)
        terms = provisioning.Terms(INSTALLATION, "http://brain.test", "0" * 64, SECRET)
        looks = provisioning.Looks()
        ctx = self.ctx
        market = offers.Market(ctx)
        self.ticks: Mapping[str, Tick] = {
            tasks.DEPLOYMENTS: lambda: deployments.reconcile_due(ctx, catalog, owner=name, lease_ttl_seconds=settings.lease_ttl_seconds, market=market, halt=lambda: self.dead),
            tasks.LEASES: lambda: fleet.reconcile_leases(ctx, watcher=watcher),
            "ganglion.intents": lambda: provisioning.reconcile_intents(ctx, clouds, terms, owner=name, watcher=watcher, looks=looks),
            "ganglion.offers": lambda: offers.refresh_due(ctx, clouds, owner=name),
            tasks.SETTLE: lambda: billing.settle_due(ctx),
            tasks.ACCRUE: lambda: billing.accrue_due(ctx),
            tasks.RELEASE: lambda: billing.release_due(ctx),
        }
        if hasattr(provisioning, "sweep"):
            self.ticks["ganglion.sweep"] = lambda: provisioning.sweep(ctx, clouds, terms)

    def tick(self, name: str) -> None:
        self.begin(name, self.ticks[name])
