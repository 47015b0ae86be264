"""One bridge network a lease, so that no two tenants share a wire.

All bridges have one prefix in their names: the host's firewall knows tenants by it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container

from docker.errors import APIError, NotFound

from node_agent.containers import options
from node_agent.containers.client import NAME_CLASH, Client, why_not_started
from node_agent.engine import Order
from node_agent.firewall import PREFIX

STILL_USED = 403


def bridge_name(lease_id: str) -> str:
    """At most 15 characters, as the kernel wants it."""
    return PREFIX + hashlib.sha256(lease_id.encode()).hexdigest()[:11]


def make(api: Client, order: Order) -> str:
    """The lease's network, made or found again; raises ``StartFailed``. IPv4 only."""
    lease_id = order.lease.lease_id
    name = options.container_name(lease_id)
    marks = {options.INSTALLATION: order.installation_id, options.LEASE: lease_id}
    bridge = {
        "com.docker.network.bridge.name": bridge_name(lease_id),
        "com.docker.network.bridge.enable_icc": "false",
    }
    try:
        api.create_network(
            name,
            driver="bridge",
            options=bridge,
            labels=marks,
            check_duplicate=True,
            enable_ipv6=False,
        )
    except APIError as error:
        if error.status_code != NAME_CLASH:
            raise why_not_started(error) from error
    return name


def remove(api: Client, name: str) -> None:
    """Take a network away, if it is there and nothing is on it."""
    try:
        api.remove_network(name)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != STILL_USED:
            raise


def sweep(api: Client, installation_id: str, busy: Container[str]) -> list[str]:
    """Remove this installation's networks of leases that are not ``busy``; their leases' ids."""
    mine = {"label": [f"{options.INSTALLATION}={installation_id}"]}
    swept = []
    for network in api.networks(filters=mine):
        lease_id = str((network.get("Labels") or {}).get(options.LEASE, ""))
        if lease_id and lease_id not in busy:
            remove(api, str(network["Id"]))
            swept.append(lease_id)
    return swept
