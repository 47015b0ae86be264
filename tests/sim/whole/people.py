"""What people ask for: deployments made, scaled, stopped, started and deleted, at any moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from brain import billing
from brain.deployments import service
from brain.deployments.service import Wanted
from brain.plumbing import Ctx
from catalog import Catalog
from kernel.ids import AccountId, DeploymentId
from kernel.money import Money
from tests.sim.whole.brain import Web

MODELS = ("ganglion/stand-in",)
REPLICAS_MAX = 2
LIVE_MAX = 3
Guards = tuple[int | None, int | None, int | None]


@dataclass
class People:
    """A few accounts. What they asked for is remembered here as well as in the database."""

    accounts: list[AccountId]
    chance: Random
    catalog: Catalog
    asked: dict[DeploymentId, AccountId] = field(default_factory=dict)
    sure: set[DeploymentId] = field(default_factory=set)  # whose making was answered
    deleted: set[DeploymentId] = field(default_factory=set)
    guards: dict[str, Guards] = field(default_factory=dict)
    number: int = 0

    async def fund(self, ctx: Ctx) -> None:
        for account in self.accounts:
            grant = billing.Grant(
                account=account,
                money=Money.usd("1000"),
                kind=billing.GrantKind.PURCHASE,
                reason="simulated",
                idempotency_key=f"fund-{account}",
            )
            await billing.grant(ctx, grant)

    def do_something(self, web: Web) -> None:
        """One wish of one person, carried by a process that may die on the way."""
        live = [key for key in self.asked if key not in self.deleted]
        draw = self.chance.random()
        self.number += 1
        if len(live) < LIVE_MAX and (not live or draw < 0.35):
            self.deploy(web, self.chance.randint(1, REPLICAS_MAX))
            return
        chosen = live[self.chance.randrange(len(live))]
        kinds = (self._stop, self._start, self._scale, self._delete)
        verb = self.chance.choices(kinds, weights=(4, 3, 4, 3))[0]
        web.begin(f"wish {self.number}", lambda: verb(web, chosen))

    def deploy(self, web: Web, replicas: int) -> None:
        web.begin("deploy", lambda: self._deploy(web, replicas))

    async def _deploy(self, web: Web, replicas: int) -> None:
        chance = self.chance
        self.number += 1
        account = self.accounts[chance.randrange(len(self.accounts))]
        wanted = Wanted(
            model=MODELS[chance.randrange(len(MODELS))],
            name=f"d{self.number}",
            replicas=replicas,
            price_max=Money.usd("20") if chance.random() < 0.5 else None,
            max_duration_seconds=chance.choice((None, None, 600, 3600)),
            idle_stop_seconds=chance.choice((None, None, None, 900)),
        )
        ctx = web.ctx
        async with ctx.db.begin() as tx:
            made = await service.create(tx, ctx, self.catalog, account, wanted)
            key = made.deployment.deployment_id
            self.asked[key] = account
            price = wanted.price_max.nano if wanted.price_max else None
            self.guards[str(key)] = (price, wanted.max_duration_seconds, wanted.idle_stop_seconds)
        self.sure.add(key)
        web.note(f"deployed {key} x{wanted.replicas}")

    async def _stop(self, web: Web, key: DeploymentId) -> None:
        async with web.ctx.db.begin() as tx:
            await service.stop(tx, web.ctx, key, self.asked[key])
        web.note(f"stop asked for {key}")

    async def _start(self, web: Web, key: DeploymentId) -> None:
        async with web.ctx.db.begin() as tx:
            await service.start(tx, web.ctx, key, self.asked[key])
        web.note(f"start asked for {key}")

    async def _scale(self, web: Web, key: DeploymentId) -> None:
        count = self.chance.randint(0, REPLICAS_MAX)
        async with web.ctx.db.begin() as tx:
            await service.scale(tx, web.ctx, key, self.asked[key], count)
        web.note(f"{count} replicas asked for {key}")

    async def _delete(self, web: Web, key: DeploymentId) -> None:
        async with web.ctx.db.begin() as tx:
            await service.delete(tx, web.ctx, key, self.asked[key])
        self.deleted.add(key)
        web.note(f"deleted {key}")

    async def stop_all(self, web: Web) -> None:
        """Everyone goes home."""
        for key in [key for key in self.asked if key not in self.deleted]:
            web.begin(f"last stop of {key}", lambda key=key: self._stop(web, key))  # type: ignore[misc]
