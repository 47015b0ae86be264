"""Whose deployments and replicas these are, for rooms below that show something of them.

Work with a launch of its own (pods) is found here as well: it is its owner's all the same.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select

from brain.deployments.models import Deployment, Replica
from brain.plumbing import Tx
from kernel.errors import NotFound
from kernel.ids import AccountId, DeploymentId, ReplicaId

REPLICAS_MAX = 64


class OwnedDeployments:
    """Answers from the rows; the caller has said who asks."""

    async def deployment(
        self, tx: Tx, deployment_id: DeploymentId, owners: Collection[AccountId]
    ) -> list[ReplicaId]:
        """Its newest replicas; raises ``NotFound`` when it is not theirs."""
        if not await self.theirs(tx, [deployment_id], owners):
            raise NotFound(f"You have no deployment {deployment_id}.")
        found = await tx.scalars(
            select(Replica.replica_id)
            .where(Replica.deployment_id == deployment_id)
            .order_by(Replica.replica_id.desc())
            .limit(REPLICAS_MAX)
        )
        return list(found)

    async def replica(
        self, tx: Tx, replica_id: ReplicaId, owners: Collection[AccountId]
    ) -> DeploymentId:
        """Its deployment; raises ``NotFound`` when that is not theirs."""
        found = await tx.scalar(
            select(Replica.deployment_id)
            .join(Deployment, Deployment.deployment_id == Replica.deployment_id)
            .where(Replica.replica_id == replica_id, Deployment.account_id.in_(owners))
        )
        if found is None:
            raise NotFound(f"You have no replica {replica_id}.")
        return found

    async def theirs(
        self, tx: Tx, deployment_ids: Collection[DeploymentId], owners: Collection[AccountId]
    ) -> frozenset[DeploymentId]:
        found = await tx.scalars(
            select(Deployment.deployment_id).where(
                Deployment.deployment_id.in_(deployment_ids), Deployment.account_id.in_(owners)
            )
        )
        return frozenset(found)
