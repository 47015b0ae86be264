"""One rented GPU of a provider's node, its tenant, and the node's own count of its time."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import text

from brain import billing, fleet
from brain.billing import Grant, grant, settle_due
from brain.billing.service.receipts import lease_receipt
from brain.fleet import Claim
from kernel.ids import AccountId, DeploymentId, ReplicaId
from kernel.wire import encode
from kernel.wire.agent import LeaseSeenState
from kernel.wire.minutes import Minute, MinuteAnswer, MinuteBatch
from node_agent.minutes import Book, Signer, look
from tests.support.fleet import LAUNCH, Agent, Rig

PRICE = 3_600_000_000_000  # $3,600 per GPU-hour: a dollar a GPU-second
POLICY = billing.MeterPolicy(installation_id="test")


class Tenancy:
    """One rented GPU, its tenant, and the node's own count of it."""

    def __init__(self, rig: Rig, agent: Agent, lease: fleet.LeaseView, payer: AccountId) -> None:
        self.rig, self.agent, self.lease, self.payer = rig, agent, lease, payer
        self.book = Book("boot-1")

    @property
    def signer(self) -> Signer:
        return Signer(str(self.agent.node_id), self.agent.key.sign)

    async def work(self, seconds: int, *, counted: bool = True) -> None:
        """Beat every ten seconds; what the node counts of it is what it will sign for."""
        for _ in range(seconds // 10):
            if counted:
                self._look(1)
            await self.rig.pass_time(10, self.agent)
            if counted:
                self._look(1)

    def _look(self, gpus: int) -> None:
        now_ns = self.rig.clock.monotonic_ns()
        working = {str(self.lease.lease_id): (self.lease.epoch, gpus)} if gpus else {}
        self.book = look(self.book, working, self.signer, now_ns)

    async def send(self, records: list[Minute]) -> MinuteAnswer:
        answer = await self.agent.send("/agent/v1/minutes", encode(MinuteBatch(records)))
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=MinuteAnswer)

    async def end(self) -> list[Minute]:
        """The work is gone, the lease closed and its bill final; what the node sealed of it."""
        self._look(0)
        await self.rig.stop_lease(self.lease.lease_id)
        await self.agent.beat(self.agent.seen(self.lease, LeaseSeenState.GONE))
        await self.rig.front.flush()
        self.rig.clock.advance(1)
        await settle_due(self.rig.ctx, POLICY)
        return self.book.sealed

    async def receipt(self) -> dict[str, Any]:
        return await lease_receipt(self.rig.ctx, self.payer, self.lease.lease_id)


async def rent(rig: Rig) -> Tenancy:
    """A GPU at a dollar a second, whose worker is ready."""
    agent = await rig.agent()
    async with rig.ctx.db.begin() as tx:
        await tx.execute(text("UPDATE node SET price_nano = :price"), {"price": PRICE})
    payer = rig.ctx.ids.new(AccountId)
    key = f"money of {payer}"
    await grant(rig.ctx, Grant(payer, "purchase", "test", key, credits=100_000_000))
    wanted = Claim(
        replica_id=rig.ctx.ids.new(ReplicaId),
        deployment_id=rig.ctx.ids.new(DeploymentId),
        node_id=agent.node_id,
        gpu_count=1,
        launch=LAUNCH,
        payer=payer,
        mode="dedicated",
    )
    async with rig.ctx.db.begin() as tx:
        lease = await fleet.claim(tx, wanted, now_ns=rig.clock.now_ns(), ids=rig.ctx.ids)
    await rig.front.look()
    await agent.beat(agent.seen(lease, LeaseSeenState.READY))
    return Tenancy(rig, agent, lease, payer)
