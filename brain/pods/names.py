"""What pods and volumes are called, for bills: ended ones included."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import select

from brain.plumbing import Tx
from brain.pods.models import Pod, Volume
from kernel.ids import DeploymentId, PodId, VolumeId


async def pod_names(tx: Tx, ids: Collection[DeploymentId]) -> Mapping[DeploymentId, str]:
    """By the deployments that they run as."""
    rows = await tx.execute(select(Pod.deployment_id, Pod.name).where(Pod.deployment_id.in_(ids)))
    return {row[0]: row[1] for row in rows}


async def names_of_pods(tx: Tx, ids: Collection[PodId]) -> Mapping[PodId, str]:
    """By their own ids."""
    rows = await tx.execute(select(Pod.pod_id, Pod.name).where(Pod.pod_id.in_(ids)))
    return {row[0]: row[1] for row in rows}


async def volume_names(tx: Tx, ids: Collection[VolumeId]) -> Mapping[VolumeId, str]:
    rows = await tx.execute(select(Volume.volume_id, Volume.name).where(Volume.volume_id.in_(ids)))
    return {row[0]: row[1] for row in rows}
