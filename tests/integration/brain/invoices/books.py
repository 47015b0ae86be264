"""Accounts that used something, for tests of documents: real leases, windows and volumes."""

from __future__ import annotations

from dataclasses import dataclass

from brain import billing
from brain.billing import Stored
from brain.invoices import Seller
from brain.plumbing import Ctx
from kernel.clock import NS
from kernel.ids import AccountId, VolumeId
from tests.integration.brain.billing.stage import POLICY, Stage

SELLER = Seller("GPU House Ltd", "1 Silicon Way\nKampala", "UG-1")
GIB_PRICE = 140_000


@dataclass
class Books:
    stage: Stage

    @property
    def ctx(self) -> Ctx:
        return self.stage.ctx

    async def own(self, account: AccountId, seconds: int, **terms: object) -> None:
        """A dedicated lease of the account that ran for so long, billed to its end."""
        made = await self.stage.ready_lease(
            payer=account, **({"mode": "dedicated", "provider": None} | terms)
        )
        for _ in range(seconds // 30):
            self.stage.clock.advance(30)
            await self.stage.alive(made)
            await billing.accrue_due(self.ctx)
        self.stage.clock.advance(seconds % 30)
        await self.stage.alive(made)
        async with self.ctx.db.begin() as tx:
            await billing.lease_closed(tx, made.lease_id, self.stage.now, "gone")
        await self.stage.gateway.beat()
        self.stage.clock.advance(300)
        await self.stage.gateway.beat()
        await billing.settle_due(self.ctx, POLICY)

    async def volume(self, account: AccountId, gib: int, hours: int) -> VolumeId:
        volume, until = self.ctx.ids.new(VolumeId), self.stage.now
        span = hours * 3600 * NS
        stored = Stored(volume, account, None, gib, GIB_PRICE, until - span, until, span)
        async with self.ctx.db.begin() as tx:
            await billing.storage_accrued(tx, self.ctx, stored)
        return volume

    async def shared(self, account: AccountId, seconds: int) -> None:
        """One request of the account in the shared pool, resident alone for so long."""
        gateway = self.stage.gateway
        await gateway.hello()
        terms = await self.stage.ready_lease()
        start = self.stage.now
        self.stage.clock.advance(seconds)
        piece = self.stage.segment(terms, account, start, self.stage.now)
        self.stage.clock.advance(-seconds % 10)
        replica = str(terms.replica_id)
        await gateway.send([piece], replica=replica, until_ns=self.stage.now)
        await billing.settle_due(self.ctx, POLICY)

    async def sum_of_use(self, account: AccountId) -> int:
        found = await self.stage.one(
            "SELECT (-sum(e.amount))::bigint FROM journal_entry e"
            " JOIN journal_tx t ON t.id = e.tx_id"
            " WHERE e.ledger_account = :a AND e.asset = 'USD' AND t.kind <> 'purchase'",
            a=account,
        )
        return int(str(found))
