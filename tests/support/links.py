"""Links between the real agent and real gateways: leases with keys, and tables that name them."""

from __future__ import annotations

import json
from typing import Any

from msgspec.structs import replace

from kernel.wire.agent import DesiredLease, GatewayAddress
from kernel.wire.gateway import REVERSE, AccountRow, LinkRow, ReplicaRow, Snapshot
from tests.support.agent_brain import lease_of
from tests.support.gateway import OWNER, Gateway, deployment_row, key_row, numbered

LINK_KEY = "5a" * 32


def linked_lease(gpu_uuids: list[str], **launch: Any) -> DesiredLease:
    """A lease whose work can be reached over links."""
    return replace(lease_of(gpu_uuids, **launch), link_key=LINK_KEY)


def linked(lease: DesiredLease, number: int = 1, **fields: Any) -> ReplicaRow:
    """The replica of a lease, as gateways are told of it."""
    return ReplicaRow(
        **{
            "replica_id": numbered("rep", number),
            "deployment_id": numbered("dep", 1),
            "lease_id": lease.lease_id,
            "epoch": lease.epoch,
            "gpus": 1,
            "link": LinkRow(kind=REVERSE, key=lease.link_key),
            "upstream_model": "demo",
            **fields,
        }
    )


def tables_of(*replicas: ReplicaRow) -> Snapshot:
    """One account, one deployment ``m``, on these replicas."""
    return Snapshot(
        keys=[key_row()],
        accounts=[AccountRow(OWNER)],
        deployments=[deployment_row()],
        replicas=list(replicas),
    )


def link_address(gateway: Gateway) -> GatewayAddress:
    """Where this gateway takes links, as it logged it."""
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines()]
    told = next(line for line in lines if line["event"] == "links_listening")
    return GatewayAddress(told["boot_id"], told["url"])
