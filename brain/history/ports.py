"""What the history needs of the rooms above it: who may see which lease's measurements."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from brain.plumbing import Tx
from kernel.ids import AccountId, DeploymentId, ReplicaId


class Renters(Protocol):
    """Whose deployments these are. ``owners``: the accounts that the caller may look into."""

    async def deployment(
        self, tx: Tx, deployment_id: DeploymentId, owners: Collection[AccountId]
    ) -> list[ReplicaId]:
        """Its replicas, the newest first, when it is theirs; raises ``NotFound`` otherwise."""
        ...

    async def replica(
        self, tx: Tx, replica_id: ReplicaId, owners: Collection[AccountId]
    ) -> DeploymentId:
        """Its deployment, when that is theirs; raises ``NotFound`` otherwise."""
        ...

    async def theirs(
        self, tx: Tx, deployment_ids: Collection[DeploymentId], owners: Collection[AccountId]
    ) -> frozenset[DeploymentId]:
        """Those of these that are theirs."""
        ...
