"""Tenants whose credit runs out while their GPUs run: each is stopped before it owes anything.

Seeded: credit, price and GPUs differ; agents take up to 30 s to end what was stopped. The law: no
balance is ever below minus ten seconds of its burn.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from brain import billing
from brain.billing import Grant, LeaseTerms, grant
from brain.plumbing import Ctx
from kernel.clock import NS, ManualClock
from kernel.ids import AccountId, LeaseId
from kernel.money import Money
from tests.integration.brain.billing.stage import POLICY, Stage

TICK = 10
STOP_SECONDS_MAX = 30


@dataclass
class Tenant:
    account: AccountId
    terms: LeaseTerms
    ends_ns: int | None = None
    closed: bool = False

    @property
    def burn(self) -> int:
        """Nano-dollars in ten seconds."""
        return self.terms.renter_rate_nano * self.terms.gpus * 10 // 3600


async def moved_in(stage: Stage, chance: random.Random) -> Tenant:
    """Credit for one to six minutes of what is rented."""
    account, gpus = stage.account(), chance.choice((1, 1, 2, 4, 8))
    rate = chance.randrange(100_000_000, 6_000_000_000)
    credit = Money(rate * gpus * chance.randrange(61, 360) // 3600)
    await grant(stage.ctx, Grant(account, "purchase", "card", str(account), money=credit))
    terms = await stage.ready_lease(
        payer=account, mode="dedicated", provider=None, gpus=gpus, renter_rate_nano=rate
    )
    return Tenant(account, terms)


async def balances(ctx: Ctx) -> Mapping[str, int]:
    async with ctx.db.begin() as tx:
        rows = await tx.execute(text("SELECT ledger_account, posted FROM balance"))
        return {row[0]: int(row[1]) for row in rows}


async def step(stage: Stage, tenants: list[Tenant], chance: random.Random) -> None:
    """Ten seconds: agents speak, covers are renewed, stopped work ends within its time."""
    stage.clock.advance(TICK)
    alive: dict[LeaseId, int] = {t.terms.lease_id: stage.now for t in tenants if not t.closed}
    async with stage.ctx.db.begin() as tx:
        await billing.lease_evidence(tx, alive)
    await billing.accrue_due(stage.ctx)
    async with stage.ctx.db.begin() as tx:
        stopped = set(await billing.stopped_accounts(tx))
        for tenant in tenants:
            if tenant.account in stopped and tenant.ends_ns is None:
                tenant.ends_ns = stage.now + chance.randrange(STOP_SECONDS_MAX + 1) * NS
            if tenant.ends_ns is not None and not tenant.closed and tenant.ends_ns <= stage.now:
                tenant.closed = True
                lease = tenant.terms.lease_id
                await billing.lease_closed(tx, lease, stage.now, "gone")
    await stage.gateway.beat()


@pytest.mark.feature("G6")
@pytest.mark.parametrize("count", [25, pytest.param(1000, marks=pytest.mark.long)])
async def test_drained_tenants_owe_nothing(ctx: Ctx, clock: ManualClock, count: int) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed of the drain: {seed}")
    stage, chance = Stage(ctx, clock), random.Random(seed)
    tenants = [await moved_in(stage, chance) for _ in range(count)]
    for _ in range(60):
        await step(stage, tenants, chance)
        if all(tenant.closed for tenant in tenants):
            break
    assert all(tenant.closed for tenant in tenants)
    for _ in range(3):
        stage.clock.advance(100)
        await stage.gateway.beat()
    await billing.settle_due(ctx, POLICY)
    left = await balances(ctx)
    owing = {t.account: left[t.account] for t in tenants if left[t.account] < -t.burn}
    assert owing == {}
    assert all(left[t.account] < t.burn * 12 for t in tenants), "what was paid for was given"
    assert all(proof.holds for proof in await billing.prove(ctx))
