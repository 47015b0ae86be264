"""What the fleet needs of the rooms above it."""

from __future__ import annotations

from typing import Protocol

from brain.plumbing import Tx
from kernel.ids import ReplicaId


class LeaseWatcher(Protocol):
    """Told that a replica's lease changed, in the transaction that changes it.

    A hint: whoever misses it finds the same in ``fleet.lease`` at the next look. Called before
    the lease's own row is locked, so that everyone locks replica, lease, node in this order.
    """

    async def lease_changed(self, tx: Tx, replica_id: ReplicaId) -> None: ...


class NobodyWatches:
    """For a fleet with no deployments above it."""

    async def lease_changed(self, tx: Tx, replica_id: ReplicaId) -> None:
        return None
