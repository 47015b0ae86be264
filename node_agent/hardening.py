"""What keeps tenants of this node apart, point by point: what holds here, and what does not."""

from __future__ import annotations

from node_agent.engine import Engine, Hold
from node_agent.firewall import NAME, Firewall
from node_agent.volumes import Volumes

NO_FIREWALL = "AGENT_FIREWALL=0: this host's own rules must keep tenants from its network."


async def hardening(
    engine: Engine, firewall: Firewall | None, volumes: Volumes | None
) -> list[Hold]:
    """One entry a point, by a name that does not change, as it is now. Never raises."""
    holds = await engine.hardening()
    if engine.kind != "docker":
        return holds
    blocked = await firewall.check() if firewall is not None else Hold(NAME, False, NO_FIREWALL)
    apart = Hold(
        "tenants_apart",
        blocked.holds,
        "Each lease has a network of its own, and the firewall lets none reach another's."
        if blocked.holds
        else "Each lease has a network of its own; only Docker's own rules keep them apart.",
    )
    sized = volumes is not None and volumes.has_quota
    quota = Hold(
        "volume_size",
        sized,
        "Each volume is a file system of its size."
        if sized
        else "Volumes are folders that are measured; work that exceeds its size is stopped.",
    )
    return [*holds, blocked, apart, quota]
