"""Deployments: what an account asked to run, the replicas that run it, what gateways are told."""

from brain.deployments.feed import Feed, Functions, Source
from brain.deployments.names import Named, deployment_names
from brain.deployments.notices import tell_owner
from brain.deployments.own import (
    OwnView,
    OwnWanted,
    Reached,
    Run,
    create_own,
    end_own,
    own_events,
    own_held,
    own_note,
    own_placement,
    own_reached,
    own_views,
    pin_own,
    start_own,
    stop_own,
)
from brain.deployments.owners import OwnedDeployments
from brain.deployments.ports import NoOwnWork, OwnWork
from brain.deployments.recipes import OwnLaunch
from brain.deployments.reconcile import reconcile_due
from brain.deployments.rows import (
    all_deployment_rows,
    all_replica_rows,
    deployment_row,
    replica_row,
)
from brain.deployments.service import capacity_appeared, lease_changed
from brain.deployments.store import models_by_node
from brain.deployments.unpaid import hurry_unpaid
from brain.deployments.wishes import Wishes, wishes_of

__all__ = [
    "Feed",
    "Functions",
    "Named",
    "NoOwnWork",
    "OwnLaunch",
    "OwnView",
    "OwnWanted",
    "OwnWork",
    "OwnedDeployments",
    "Reached",
    "Run",
    "Source",
    "Wishes",
    "all_deployment_rows",
    "all_replica_rows",
    "capacity_appeared",
    "create_own",
    "deployment_names",
    "deployment_row",
    "end_own",
    "hurry_unpaid",
    "lease_changed",
    "models_by_node",
    "own_events",
    "own_held",
    "own_note",
    "own_placement",
    "own_reached",
    "own_views",
    "pin_own",
    "reconcile_due",
    "replica_row",
    "start_own",
    "stop_own",
    "tell_owner",
    "wishes_of",
]
