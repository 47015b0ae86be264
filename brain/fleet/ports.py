"""What the fleet needs of the rooms above it."""

from __future__ import annotations

from typing import Protocol

from brain.plumbing import Tx
from kernel.ids import NodeId, ReplicaId
from kernel.wire.agent import Beat, BeatAnswer


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


class BeatPart(Protocol):
    """Another room's share in each beat: it takes what is told and may add to the answer.

    Called from memory for every beat of every node, after the beat was admitted: it must not wait
    and must not raise. What needs the database is gathered and written by the part's own loop.
    """

    def beat(self, node_id: NodeId, beat: Beat, answer: BeatAnswer, now_ns: int) -> None: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...
