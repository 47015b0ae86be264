"""The rows that the front is told of: a pod as it can be reached now. Without the links' keys."""

from __future__ import annotations

from collections.abc import Sequence

from brain import deployments, provisioning
from brain.deployments import Reached
from brain.plumbing import Tx
from brain.pods import store
from brain.pods.models import Pod
from kernel.wire import gateway as wire


async def pod_row(tx: Tx, pod_id: str) -> wire.PodRow | None:
    """As the front is told of it; None: it is no more."""
    pod = await store.find(tx, pod_id)
    if pod is None or pod.ended_ns is not None:
        return None
    return (await _rows(tx, [pod]))[0]


async def all_pod_rows(tx: Tx) -> list[wire.PodRow]:
    return await _rows(tx, await store.live(tx))


async def _rows(tx: Tx, pods: Sequence[Pod]) -> list[wire.PodRow]:
    reached = await deployments.own_reached(tx, [pod.deployment_id for pod in pods])
    keys = await store.key_lines(tx, {pod.account_id for pod in pods})
    leases = [one.lease_id for one in reached.values() if one.lease_id and one.launch.clouds]
    away = await provisioning.at_clouds(tx, leases) if leases else {}
    rows = []
    for pod in pods:
        one = reached[pod.deployment_id]
        there = None if one.lease_id is None else away.get(one.lease_id)
        rows.append(_row(pod, one, keys.get(pod.account_id, []), there))
    return rows


def _row(
    pod: Pod, reached: Reached, keys: list[str], there: provisioning.AtCloud | None
) -> wire.PodRow:
    """No front reaches what runs at a cloud without our agent."""
    launch, runs = reached.launch.launch, reached.lease_id is not None and there is None
    reason = "" if runs else reached.reason
    if there is not None:
        reason = (
            f"Not here, that is: it runs at {there.cloud} without our agent; its addresses there"
            " are in `ganglion pod show`."
        )
    return wire.PodRow(
        pod_id=str(pod.pod_id),
        slug=pod.slug,
        account_id=str(pod.account_id),
        lease_id=str(reached.lease_id or "") if runs else "",
        epoch=reached.epoch,
        ports=list(launch.ports),
        state=wire.PodState.RUNNING if runs else wire.PodState.STOPPED,
        ssh=launch.shell,
        ssh_keys=keys if launch.shell else [],
        reason=reason,
    )
