"""Instance-hours by seed, with crashes, replays, duplicates, news out of order and skewed clocks:
every live second is billed once, and what the renter pays is what host and platform get."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random

import pytest
from sqlalchemy import text

from brain.billing import (
    LeaseMark,
    LeaseTerms,
    accrue_due,
    lease_closed,
    lease_evidence,
    lease_mark,
    lease_opened,
    release_due,
    settle_due,
)
from brain.plumbing import Ctx
from kernel.clock import NS, ManualClock
from kernel.ids import LeaseId
from kernel.money import CARRY_DIVISOR, TICKS_PER_GPU_NS
from tests.integration.brain.billing.stage import Stage
from tests.integration.brain.billing.test_many_at_once import broken

pytestmark = pytest.mark.feature("G1")
RENTERS = 3
QUARTER = 900 * NS
CARRY = "SELECT carry FROM balance WHERE ledger_account = :a AND asset = 'USD'"
# What others got in the transactions by which this renter paid for time.
GOT = """
SELECT coalesce(sum(o.amount), 0) FROM journal_entry e JOIN journal_tx t ON t.id = e.tx_id
JOIN journal_entry o ON o.tx_id = e.tx_id AND o.line <> e.line AND o.asset = 'USD'
WHERE e.ledger_account = :a AND t.kind = 'lease_time'
"""


@dataclass
class Rented:
    """What truly happened to a lease, kept beside the books."""

    terms: LeaseTerms
    ready_ns: int
    alive_ns: int
    told: list[int] = field(default_factory=list)  # news of life, in any order

    @property
    def live_ns(self) -> int:
        return self.alive_ns - self.ready_ns


@dataclass
class Hosts:
    """Leases that live for hours; the world around the books, by one seed."""

    stage: Stage
    chance: Random
    running: list[Rented] = field(default_factory=list)
    ended: list[Rented] = field(default_factory=list)

    @property
    def hours(self) -> float:
        return sum(r.live_ns for r in [*self.running, *self.ended]) / NS / 3600

    async def open(self, renter: str) -> None:
        chance, ctx, at = self.chance, self.stage.ctx, self.stage.now
        rate = chance.randrange(1, 5_000_000_000)
        terms = self.stage.terms(
            payer=renter, mode="dedicated", gpus=chance.randrange(1, 9), renter_rate_nano=rate
        )
        ready = at + chance.randrange(60 * NS)
        async with ctx.db.begin() as tx:
            await lease_opened(tx, terms, ctx.ids)
        for _ in range(chance.randrange(1, 3)):
            async with ctx.db.begin() as tx:
                for mark in (LeaseMark.LOADING, LeaseMark.READY):
                    await lease_mark(tx, terms.lease_id, mark, ready)
        self.running.append(Rented(terms, ready, ready))

    async def pass_time(self) -> None:
        """Quarters of an hour, more or less; then news of it, some twice, some late, some not."""
        quarters = self.chance.choice((1, 1, 4, 12))
        self.stage.clock.advance(ns=quarters * QUARTER + self.chance.randrange(-60 * NS, 60 * NS))
        for one in self.running:
            seen = self.stage.now - self.chance.randrange(30 * NS)  # the host's clock is askew
            one.alive_ns = max(one.alive_ns, seen)
            one.told += [seen] * self.chance.randrange(1, 3)
            self.chance.shuffle(one.told)
        for _ in range(2):
            news = {r.terms.lease_id: r.told.pop() for r in self.running if r.told}
            async with self.stage.ctx.db.begin() as tx:
                await lease_evidence(tx, news)

    async def close(self, one: Rented) -> None:
        """Its work is gone (all was told), or it fell silent (it ends at what was told)."""
        self.running.remove(one)
        for seen in one.told:
            async with self.stage.ctx.db.begin() as tx:
                await lease_evidence(tx, {one.terms.lease_id: seen})
        lost = self.chance.random() < 0.3
        for _ in range(self.chance.randrange(1, 3)):
            async with self.stage.ctx.db.begin() as tx:
                outcome = "lost" if lost else "gone"
                await lease_closed(tx, one.terms.lease_id, self.stage.now, outcome)
        one.alive_ns = one.alive_ns if lost else max(one.alive_ns, self.stage.now)
        self.ended.append(one)

    async def tick(self) -> None:
        """The money tasks, twice at once, and at times a process that dies among them."""
        ctx = self.stage.ctx
        work = [
            asyncio.ensure_future(task(ctx))
            for task in (accrue_due, settle_due, release_due)
            for _ in range(2)
        ]
        if self.chance.random() < 0.3:
            victim = self.chance.choice(work)
            await asyncio.wait({victim}, timeout=self.chance.random() * 0.01)
            victim.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def lived(stage: Stage, hours: int, seed: int) -> tuple[Hosts, list[str]]:
    """So many instance-hours, then everything ends and is billed."""
    hosts = Hosts(stage, Random(seed))
    renters = [await stage.rich(dollars=90_000) for _ in range(RENTERS)]
    while hosts.hours < hours:
        while len(hosts.running) < max(4, hours // 100):
            await hosts.open(hosts.chance.choice(renters))
        await hosts.pass_time()
        await hosts.tick()
        for one in list(hosts.running):
            if hosts.chance.random() < 0.05:
                await hosts.close(one)
    for one in list(hosts.running):
        await hosts.close(one)
    for _ in range(2):
        await settle_due(stage.ctx)
    return hosts, [str(renter) for renter in renters]


async def bills(ctx: Ctx, id: LeaseId) -> list[tuple[int, int]]:
    query = "SELECT from_ns, until_ns FROM lease_bill WHERE lease_id = :id ORDER BY from_ns"
    async with ctx.db.begin() as tx:
        return [(row[0], row[1]) for row in await tx.execute(text(query), {"id": id})]


@pytest.mark.parametrize("hours", [12, pytest.param(10_000, marks=pytest.mark.long)])
async def test_every_live_second_is_billed_once_and_to_the_nano_dollar(
    ctx: Ctx, clock: ManualClock, seed: int, hours: int
) -> None:
    hosts, renters = await lived(Stage(ctx, clock), hours, seed)
    for one in hosts.ended:
        stretches = await bills(ctx, one.terms.lease_id)
        ends = [one.ready_ns, *(until for _, until in stretches)]
        assert [start for start, _ in stretches] == ends[:-1]
        assert ends[-1] == one.alive_ns
    for renter in renters:
        await paid_exactly(hosts, renter)
    assert await broken(ctx) == []


async def paid_exactly(hosts: Hosts, renter: str) -> None:
    """Charges and carry are price x time, and are what host and platform got for it."""
    stage = hosts.stage
    mine = [one for one in hosts.ended if one.terms.payer == renter]
    owed = sum(r.terms.renter_rate_nano * r.terms.gpus * r.live_ns for r in mine)
    charged = 90_000 * NS - await stage.posted(renter)
    carry = int(str(await stage.one(CARRY, a=renter)))
    assert charged * CARRY_DIVISOR + carry == owed * TICKS_PER_GPU_NS
    assert int(str(await stage.one(GOT, a=renter))) == charged
