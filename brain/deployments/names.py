"""What deployments are called, for bills: their own names, deleted ones included."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import select

from brain.deployments.models import Deployment
from brain.plumbing import Tx
from kernel.ids import DeploymentId


@dataclass(frozen=True)
class Named:
    name: str
    model: str


async def deployment_names(tx: Tx, ids: Collection[DeploymentId]) -> Mapping[DeploymentId, Named]:
    """Those that there are, or were."""
    rows = await tx.execute(
        select(Deployment.deployment_id, Deployment.name, Deployment.model).where(
            Deployment.deployment_id.in_(ids)
        )
    )
    return {row[0]: Named(row[1], row[2]) for row in rows}
