"""What other rooms have to tell the owner of a deployment: a line among its events."""

from __future__ import annotations

from brain.deployments import store
from brain.plumbing import Ctx, Tx
from kernel.ids import DeploymentId, ReplicaId


async def tell_owner(
    tx: Tx, ctx: Ctx, deployment_id: DeploymentId, replica_id: ReplicaId, what: str, sentence: str
) -> None:
    """Write it down where the owner reads of the deployment; nothing when it is not there."""
    if await store.find(tx, deployment_id) is not None:
        await store.note(tx, ctx, deployment_id, what, sentence, replica_id)
