"""What one room asks another, or tells it, where neither may know the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from brain import billing, deployments, offers, trust
from brain.plumbing import Ctx, Tx, once_committed
from kernel.ids import AccountId, ReplicaId


class BillingGate:
    """Identity's question about credit, answered by billing."""

    async def purchased_credits(self, tx: Tx, account_id: AccountId) -> int:
        return await billing.purchased_credits(tx, account_id)


@dataclass(frozen=True)
class DeploymentWatch:
    """The fleet's news of a lease, told to the replica that holds it. ``hint`` is called once that
    is committed, so that whoever works on replicas need not wait for the next tick; as the news
    itself, it may come of a lease that is as it was."""

    ctx: Ctx
    hint: Callable[[], None] | None = None

    async def lease_changed(self, tx: Tx, replica_id: ReplicaId) -> None:
        await deployments.lease_changed(tx, self.ctx, replica_id)
        if self.hint is not None:
            once_committed(tx, self.hint)


@dataclass(frozen=True)
class ModelsNear(offers.Near):
    """Which models' files lie on which nodes, as the deployments know it."""

    async def models(self, tx: Tx, since_ns: int) -> Mapping[str, frozenset[str]]:
        return await deployments.models_by_node(tx, since_ns)


@dataclass(frozen=True)
class DeploymentWaiting(offers.Waiting):
    """Capacity that came up, told to the replicas that wait for a place."""

    ctx: Ctx

    async def capacity_appeared(self, tx: Tx) -> None:
        await deployments.capacity_appeared(tx, self.ctx)


@dataclass(frozen=True)
class OwnersOfWork(trust.NoRenters):
    """News of a node, told to who rents there: a line among a deployment's events."""

    ctx: Ctx

    async def tell(self, tx: Tx, notice: trust.Notice) -> None:
        await deployments.tell_owner(
            tx, self.ctx, notice.deployment_id, notice.replica_id, notice.what, notice.sentence
        )
