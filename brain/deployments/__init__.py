"""Deployments: what an account asked to run, the replicas that run it, what gateways are told."""

from brain.deployments.feed import Feed, Functions, Source
from brain.deployments.reconcile import reconcile_due
from brain.deployments.rows import (
    all_deployment_rows,
    all_replica_rows,
    deployment_row,
    replica_row,
)
from brain.deployments.service import capacity_appeared, lease_changed
from brain.deployments.store import models_by_node

__all__ = [
    "Feed",
    "Functions",
    "Source",
    "all_deployment_rows",
    "all_replica_rows",
    "capacity_appeared",
    "deployment_row",
    "lease_changed",
    "models_by_node",
    "reconcile_due",
    "replica_row",
]
