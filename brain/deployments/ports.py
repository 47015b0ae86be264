"""What deployments need of the rooms above them."""

from __future__ import annotations

from typing import Protocol

from brain import fleet
from brain.plumbing import Tx
from kernel.ids import NodeId


class OwnWork(Protocol):
    """The room whose work a deployment's own launch is (``recipes.OwnLaunch``).

    Both are asked in the transaction of a claim. A ``Conflict`` rolls it back; the replica waits
    with that reason."""

    async def claiming(self, tx: Tx, pod_id: str, node_id: NodeId | None) -> None:
        """Its work is about to be given GPUs of this node (None: of a machine to be rented).
        Locks are taken here, before those of lease, node and money."""
        ...

    async def claimed(self, tx: Tx, pod_id: str, lease: fleet.LeaseView) -> None:
        """Its work was given this lease."""
        ...

    async def ssh_keys(self, tx: Tx, pod_id: str) -> tuple[str, ...]:
        """The public keys that open it where no agent of ours asks for them."""
        ...


class NoOwnWork:
    """For deployments with no pods above them."""

    async def claiming(self, tx: Tx, pod_id: str, node_id: NodeId | None) -> None:
        return None

    async def claimed(self, tx: Tx, pod_id: str, lease: fleet.LeaseView) -> None:
        return None

    async def ssh_keys(self, tx: Tx, pod_id: str) -> tuple[str, ...]:
        return ()
