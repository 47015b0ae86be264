"""A demo's deployment: asked for, placed, followed to ready, and stopped at the end."""

from __future__ import annotations

from typing import Any

from cli.client import Brain
from cli.demo.story import Story
from cli.faults import CliError
from kernel.clock import NS, Clock

READY_SECONDS_MAX = 300.0
STOP_SECONDS_MAX = 60.0
POLL_SECONDS = 0.1


def deploy(story: Story, brain: Brain, model: str, name: str) -> dict[str, Any]:
    made: dict[str, Any] = brain.post(
        "/api/v1/deployments", {"model": model, "name": name}, key=name
    )
    story.tell(f"{made['name']} is {made['deployment_id']}, {made['state']}")
    return made


async def follow(
    story: Story, brain: Brain, deployment_id: str, wanted: str, *, clock: Clock
) -> dict[str, Any]:
    """Tell each change of its replica until the deployment is as wanted."""
    most = READY_SECONDS_MAX if wanted == "running" else STOP_SECONDS_MAX
    deadline = clock.monotonic_ns() + int(most * NS)
    last = None
    while True:
        found: dict[str, Any] = brain.get(f"/api/v1/deployments/{deployment_id}")
        for replica in found["replica_list"]:
            told = f"{replica['state']}: {replica['waiting_reason'] or replica['reason']}"
            if told != last and not (last is None and found["asked"] == "stopped"):
                story.tell(told)
            last = told
        if found["state"] == wanted:
            return found
        if found["broken_reason"]:
            raise CliError(f"The deployment failed: {found['broken_reason']}")
        if clock.monotonic_ns() > deadline:
            raise CliError(f"The deployment is {found['state']} after {most:.0f} s, not {wanted}.")
        await clock.sleep(POLL_SECONDS)


def tell_why(story: Story, brain: Brain, deployment_id: str) -> dict[str, Any]:
    """The plan: each candidate with what spoke for or against it."""
    found: dict[str, Any] = brain.get(f"/api/v1/deployments/{deployment_id}/why")
    story.tell(found["outcome"])
    for candidate in found["candidates"][:5]:
        word = "fits" if candidate["ok"] else "does not fit"
        gpu = candidate["gpu_name"] + (" (simulated)" if candidate["simulated"] else "")
        story.tell(f"{candidate['node_name']}, {gpu}: {word}; {'; '.join(candidate['reasons'])}")
    return found


def tell_lease(story: Story, found: dict[str, Any]) -> str:
    """The lease under the ready replica."""
    replica = found["replica_list"][0]
    story.tell(
        f"lease {replica['lease_id']}, epoch {replica['epoch']}, {replica['gpus']} GPU of "
        f"{replica['node_id']}"
    )
    return str(replica["lease_id"])
