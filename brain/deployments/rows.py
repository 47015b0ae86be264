"""The rows that gateways are told of: what a deployment and a replica look like to them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from brain.deployments.models import Deployment, Replica
from brain.deployments.states import SERVING, Asked, ReplicaState
from brain.plumbing import Tx
from kernel.wire import gateway as wire

_SERVING = [state.value for state in SERVING]


def _told() -> object:
    """A deployment is told while it is asked to run, and while a worker of it may still serve."""
    serving = select(Replica.replica_id).where(
        Replica.deployment_id == Deployment.deployment_id, Replica.state.in_(_SERVING)
    )
    told = Deployment.deleted_at.is_(None) & Deployment.own_launch.is_(None)
    return told & ((Deployment.asked == Asked.RUNNING.value) | serving.exists())


def _served() -> tuple[Any, ...]:
    """Workers of models; what runs a launch of its own is not reached by ``/v1``."""
    return Replica.state.in_(_SERVING), Deployment.own_launch.is_(None)


async def deployment_row(tx: Tx, deployment_id: str) -> wire.DeploymentRow | None:
    """As gateways are told of it; None: they are not."""
    found = await tx.scalar(
        select(Deployment).where(Deployment.deployment_id == deployment_id, _told())  # type: ignore[arg-type]
    )
    return None if found is None else _deployment(found)


async def all_deployment_rows(tx: Tx) -> list[wire.DeploymentRow]:
    found = await tx.scalars(select(Deployment).where(_told()))  # type: ignore[arg-type]
    return [_deployment(row) for row in found]


async def replica_row(tx: Tx, replica_id: str) -> wire.ReplicaRow | None:
    """As gateways are told of it: ready or draining, with a lease; else None."""
    found = await tx.scalar(
        select(Replica)
        .join(Deployment, Deployment.deployment_id == Replica.deployment_id)
        .where(Replica.replica_id == replica_id, *_served())
    )
    return None if found is None else _replica(found)


async def all_replica_rows(tx: Tx) -> list[wire.ReplicaRow]:
    found = await tx.scalars(
        select(Replica)
        .join(Deployment, Deployment.deployment_id == Replica.deployment_id)
        .where(*_served())
    )
    return [_replica(replica) for replica in found]


def _deployment(row: Deployment) -> wire.DeploymentRow:
    return wire.DeploymentRow(
        deployment_id=row.deployment_id,
        account_id=row.account_id,
        name=row.name,
        model=row.model,
        kind=row.kind,
        pool=row.pool,
        rate_nano=row.rate_nano,
        ceiling_prompt_nano=row.ceiling_prompt_nano,
        ceiling_completion_nano=row.ceiling_completion_nano,
        created=int(row.created_at.timestamp()),
        waits=_waits(row),
        scaled=row.max_replicas is not None,
        concurrency=row.concurrency,
    )


def _waits(row: Deployment) -> bool:
    """A worker of it comes by itself, sooner or later: requests may wait for it."""
    if row.asked != Asked.RUNNING.value or row.broken_ns is not None:
        return False
    return row.replicas > 0 or row.max_replicas is not None


def _replica(row: Replica) -> wire.ReplicaRow:
    assert row.lease_id is not None, "a replica that serves holds a lease"
    draining = row.state == ReplicaState.DRAINING.value
    return wire.ReplicaRow(
        replica_id=row.replica_id,
        deployment_id=row.deployment_id,
        lease_id=row.lease_id,
        epoch=row.epoch,
        gpus=row.gpus,
        link=wire.LinkRow(kind=wire.REVERSE),  # wiring adds the key
        state=wire.ReplicaState.DRAINING if draining else wire.ReplicaState.READY,
        upstream_model=row.model,
    )
