"""What trust needs of the rooms above it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from brain.plumbing import Tx
from kernel.ids import DeploymentId, LeaseId, NodeId, ReplicaId


@dataclass(frozen=True)
class Notice:
    """Something that the renter of a lease should know. ``what`` is one word for programs."""

    lease_id: LeaseId
    replica_id: ReplicaId
    deployment_id: DeploymentId
    node_id: NodeId
    what: str
    sentence: str


class Renters(Protocol):
    """Told in the transaction that writes down that they were told, so each notice comes once.

    It must not raise for work that has ended meanwhile.
    """

    async def tell(self, tx: Tx, notice: Notice) -> None: ...


class NoRenters:
    """For a fleet with nobody above it."""

    async def tell(self, tx: Tx, notice: Notice) -> None:
        return None
