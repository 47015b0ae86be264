"""Deployments over a small fleet: an account with credit, ticks by hand, agents that obey."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text

from brain import billing, deployments
from brain.billing.service import gateway as meter
from brain.bridges import DeploymentWatch
from brain.deployments import service, store, updates
from brain.deployments.models import Replica
from brain.deployments.service import Wanted, Whole
from brain.fleet import LeaseView
from brain.plumbing import Ctx, Tx
from catalog import Catalog, load_catalog
from kernel.clock import ManualClock
from kernel.ids import AccountId, DeploymentId, LeaseId
from kernel.money import Money
from kernel.wire.agent import DesiredState, LeaseSeen, LeaseSeenState
from kernel.wire.gateway import Hello, UsageBatch, Watermark
from tests.support.fleet import VAULT, Agent, Rig, brain_front, gpu

STANDIN = "ganglion/stand-in"


@dataclass
class House:
    """What a test of deployments works with."""

    rig: Rig
    ctx: Ctx
    clock: ManualClock
    catalog: Catalog
    account: AccountId
    owner: str = "worker-1"

    async def node(self, gpus: int = 1) -> Agent:
        number = len(self.rig.agents)
        made = [gpu(f"GPU-{number}-{place}", simulated=True) for place in range(gpus)]
        return await self.rig.agent(*made)

    async def deploy(self, model: str = STANDIN, **wanted: object) -> DeploymentId:
        async with self.ctx.db.begin() as tx:
            asked = Wanted(model=model, **wanted)  # type: ignore[arg-type]
            made = await service.create(tx, self.ctx, self.catalog, self.account, asked)
        return made.deployment.deployment_id

    async def stop(self, deployment_id: DeploymentId) -> None:
        async with self.ctx.db.begin() as tx:
            row = await store.find(tx, deployment_id)
            assert row is not None
            await service.stop(tx, self.ctx, deployment_id, row.account_id)

    async def scale(self, deployment_id: DeploymentId, replicas: int) -> None:
        async with self.ctx.db.begin() as tx:
            await service.scale(tx, self.ctx, deployment_id, self.account, replicas)

    async def update(self, deployment_id: DeploymentId, **changed: Any) -> Whole:
        """Change settings of its workers, or with ``terms={...}`` what holds at once."""
        change = updates.Change(terms=changed.pop("terms", {}), settings=changed)
        async with self.ctx.db.begin() as tx:
            return await updates.update(
                tx, self.ctx, self.catalog, deployment_id, self.account, change
            )

    async def roll_back(self, deployment_id: DeploymentId, number: int | None = None) -> Whole:
        async with self.ctx.db.begin() as tx:
            return await updates.roll_back(
                tx, self.ctx, self.catalog, deployment_id, self.account, number
            )

    async def tick(self) -> int:
        """What the worker's ticks do, once."""
        await self.rig.reconcile()
        return await deployments.reconcile_due(self.ctx, self.catalog, VAULT, owner=self.owner)

    async def look(self, deployment_id: DeploymentId) -> Whole:
        async with self.ctx.db.begin() as tx:
            row = await store.find(tx, deployment_id)
            assert row is not None
            return await service.whole(tx, row)

    async def state(self, deployment_id: DeploymentId) -> str:
        return (await self.look(deployment_id)).state.value

    async def replicas(self, deployment_id: DeploymentId) -> list[Replica]:
        return (await self.look(deployment_id)).replicas

    async def lease(self, replica: Replica) -> LeaseView:
        assert replica.lease_id is not None
        return await self.rig.lease(LeaseId(replica.lease_id))

    async def obey(
        self,
        *agents: Agent,
        state: LeaseSeenState = LeaseSeenState.READY,
        only: Container[str] | None = None,
    ) -> None:
        """Each agent beats, takes what it is told, and beats with the work done; what is not
        among ``only`` loads for ever."""
        await self.rig.front.flush()  # a brain that cannot write hands nothing out
        await self.rig.front.look()
        for agent in agents or tuple(self.rig.agents):
            agent.generation = 0  # so that the whole set is told, whoever heard of it before
            told = await agent.beat(*agent.last_seen)
            assert told.desired is not None
            done = []
            for lease in told.desired.leases:
                runs = lease.state is DesiredState.RUN
                seen = state if runs else LeaseSeenState.GONE
                if runs and only is not None and lease.lease_id not in only:
                    seen = LeaseSeenState.LOADING
                done.append(
                    LeaseSeen(lease_id=lease.lease_id, epoch=lease.epoch, state=seen, port=9000)
                )
            await agent.beat(*done)
            agent.last_seen = tuple(s for s in done if s.state is not LeaseSeenState.GONE)

    async def settle(self, rounds: int = 6, seconds: float = 2.0) -> None:
        """Time passes, agents obey, ticks come."""
        for _ in range(rounds):
            await self.tick()
            await self.obey()
            await self.tick()
            await self.rig.pass_time(seconds, *self.rig.agents)

    async def ready(self, **wanted: object) -> DeploymentId:
        made = await self.deploy(**wanted)  # type: ignore[arg-type]
        await self.tick()
        await self.obey()
        await self.tick()
        assert await self.state(made) == "running"
        return made


async def give(ctx: Ctx, account: AccountId, usd: str = "10") -> None:
    """Credit that was paid for."""
    grant = billing.Grant(
        account=account,
        money=Money.usd(usd),
        kind=billing.GrantKind.PURCHASE,
        reason="test",
        idempotency_key=f"grant-{account}-{usd}",
    )
    await billing.grant(ctx, grant)


@dataclass
class Gateway:
    """A gateway as billing knows it: it says hello once, then what it has in flight."""

    ctx: Ctx
    boot_id: str = "boot-of-the-gateway"

    async def hello(self) -> None:
        message = Hello(self.boot_id, "gateway-1", self.ctx.clock.monotonic_ns())
        await meter.hello(self.ctx, message, billing.MeterPolicy())

    async def say(self, replica_id: str, *, in_flight: int, draining: bool) -> None:
        now_ns = self.ctx.clock.monotonic_ns()
        mark = Watermark(replica_id, now_ns, in_flight=in_flight, draining=draining)
        batch = UsageBatch(self.boot_id, "gateway-1", now_ns, segments=[], watermarks=[mark])
        await meter.usage_reported(self.ctx, batch)


@pytest.fixture
async def house(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[House]:
    async with brain_front(ctx, clock, valkey_url, watcher=DeploymentWatch(ctx)) as rig:
        made = House(rig, ctx, clock, load_catalog(), ctx.ids.new(AccountId))
        await give(ctx, made.account)
        yield made


async def live_leases(tx: Tx) -> list[tuple[str, str]]:
    """Every lease that is not closed: its id and its replica's."""
    rows = await tx.execute(text("SELECT lease_id, replica_id FROM lease WHERE state <> 'closed'"))
    return [(row.lease_id, row.replica_id) for row in rows]
