"""What people call the lines of a table of costs: names for ids, ended things included."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ARRAY, Text, bindparam, text

from brain import deployments, pods
from brain.costs.sums import By
from brain.plumbing import Tx
from kernel.ids import DeploymentId, PodId, VolumeId

_KEYS = text("SELECT id, name FROM api_key WHERE id = ANY(:ids)").bindparams(
    bindparam("ids", type_=ARRAY(Text))
)
OTHERS = {
    By.DEPLOYMENT: "(pods, volumes, fees)",
    By.POD: "(deployments, volumes, fees)",
    By.VOLUME: "(deployments, pods, fees)",
    By.MODEL: "(no model: pods, volumes, fees)",
    By.KEY: "(nobody's request: loading, idle, storage)",
    By.ACCOUNT: "(the platform)",
    By.PROVIDER: "(unknown)",
}


async def titles(tx: Tx, by: By, names: Sequence[str]) -> dict[str, str]:
    """A title for each name; the name itself where it has none."""
    ids = [name for name in names if name]
    called: dict[str, str] = {}
    if by is By.DEPLOYMENT:
        found = await deployments.deployment_names(tx, [DeploymentId(id) for id in ids])
        called = {str(id): one.name for id, one in found.items()}
    elif by is By.POD:
        pods_found = await pods.names_of_pods(tx, [PodId(id) for id in ids])
        called = {str(id): name for id, name in pods_found.items()}
    elif by is By.VOLUME:
        volumes = await pods.volume_names(tx, [VolumeId(id) for id in ids])
        called = {str(id): name for id, name in volumes.items()}
    elif by is By.KEY:
        called = {row.id: row.name for row in await tx.execute(_KEYS, {"ids": ids})}
    return {name: called.get(name, name or OTHERS.get(by, "")) for name in names}
