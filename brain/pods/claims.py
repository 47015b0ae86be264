"""A pod is about to get a lease: its volumes get their place, its node what it needs of secrets."""

from __future__ import annotations

from dataclasses import dataclass, field

from brain import deployments, fleet
from brain.plumbing import Tx
from brain.plumbing.sealing import Sealer
from brain.pods import access, service, store, volume_store, volumes
from brain.pods.states import LIVE_VOLUMES, PodLife, VolumeState
from brain.secrets import LeaseSecrets, Vault
from kernel.errors import Conflict
from kernel.ids import NodeId


@dataclass(frozen=True)
class PodClaims:
    """The pods' answers to the deployments' claims (``deployments.OwnWork``)."""

    vault: Vault
    sealer: Sealer = field(repr=False)

    async def claiming(self, tx: Tx, pod_id: str, node_id: NodeId | None) -> None:
        """Volumes that lie nowhere will lie on this node. ``Conflict`` while an earlier run of the
        pod may still write to them, or when one is gone."""
        pod = await store.find(tx, pod_id)
        if pod is None or pod.state != PodLife.KEPT.value:
            raise Conflict("The pod is terminated.")
        rows = await volume_store.of_pod(tx, pod.pod_id, lock=True)
        if not rows:
            return
        lost = next((row for row in rows if VolumeState(row.state) not in LIVE_VOLUMES), None)
        if lost is not None:
            raise Conflict(f"Its volume {lost.name} is {lost.state}: {lost.state_reason}.")
        if node_id is None or any(row.node_id not in (None, node_id) for row in rows):
            raise Conflict("Its volumes lie on another node; a place is looked for again.")
        before = await service.unclosed(tx, await service.runs_of(tx, pod.deployment_id))
        if before is not None:
            raise Conflict(
                f"Its last run on {before.node_id} is not proved to have ended; two must not write"
                " to the same volumes."
            )
        await volumes.give_place(tx, rows, node_id)
        why = service.pinned_why(str(node_id))
        await deployments.pin_own(tx, pod.deployment_id, node_id, why)

    async def ssh_keys(self, tx: Tx, pod_id: str) -> tuple[str, ...]:
        """The account's, as they are now: nobody can add one to a machine without our agent."""
        pod = await store.find(tx, pod_id)
        assert pod is not None, "a pod's row is never deleted"
        return tuple(key.line for key in await store.ssh_keys(tx, pod.account_id))

    async def claimed(self, tx: Tx, pod_id: str, lease: fleet.LeaseView) -> None:
        """Seal for this lease what the pod is to be given. ``Conflict`` names what is missing."""
        pod = await store.find(tx, pod_id)
        assert pod is not None, "a pod's row is never deleted"
        if not pod.secrets and pod.registry_id is None:
            return
        environment = await self.vault.opened(tx, pod.account_id, pod.secrets)
        login = await access.login(tx, self.sealer, pod)
        await self.vault.give(tx, lease.lease_id, LeaseSecrets(environment, login))
