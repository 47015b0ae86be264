"""The agent with the Docker hand: the stand-in worker in a container, started and proved gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docker
import httpx
import pytest

from tests.support.agent_brain import AgentBrain, lease_of
from tests.support.agent_process import AgentProcess
from tests.support.dockerd import remove_all
from tests.support.wait import until
from tests.support.worker_image import worker_image

pytestmark = [pytest.mark.feature("C4"), pytest.mark.real("dockerd")]


@pytest.fixture
def agent(
    brain: AgentBrain, dockerd: str, engine_client: docker.APIClient, tmp_path: Path
) -> Iterator[AgentProcess]:
    worker_image(engine_client)
    brain.installation_id = f"installation-{tmp_path.parent.name}-{tmp_path.name}"
    agent = AgentProcess(tmp_path / "agent", brain.url, AGENT_ENGINE="docker", DOCKER_HOST=dockerd)
    yield agent
    agent.clean()
    remove_all(engine_client, f"ganglion.installation={brain.installation_id}")


def ours(client: docker.APIClient, brain: AgentBrain) -> list[str]:
    """Ids of this test's containers."""
    label = f"ganglion.installation={brain.installation_id}"
    return [one["Id"] for one in client.containers(all=True, filters={"label": label})]


async def test_the_worker_in_its_container_answers_on_its_published_port(
    brain: AgentBrain, agent: AgentProcess, engine_client: docker.APIClient
) -> None:
    agent.start()
    lease = lease_of(await brain.gpu_uuids(1))
    brain.want(lease)
    seen = await brain.shows(lease.lease_id, "ready")
    body = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}
    async with httpx.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{seen.port}/v1/chat/completions"
        answer = await client.post(url, json=body)
    assert answer.json()["choices"][0]["message"]["content"]
    brain.ask_stop(lease.lease_id)
    await brain.shows(lease.lease_id, "gone")
    assert ours(engine_client, brain) == []


async def test_its_lines_reach_the_brain(brain: AgentBrain, agent: AgentProcess) -> None:
    agent.start()
    lease = lease_of(await brain.gpu_uuids(1))
    brain.want(lease)
    await until(lambda: any('"ready"' in x for x in brain.lines.get(lease.lease_id, [])), 120)
    assert sum('"ready"' in line for line in brain.lines[lease.lease_id]) == 1


async def test_a_restarted_agent_finds_its_containers_by_their_labels(
    brain: AgentBrain, agent: AgentProcess, engine_client: docker.APIClient
) -> None:
    agent.start()
    lease = lease_of(await brain.gpu_uuids(1))
    brain.want(lease)
    before = await brain.shows(lease.lease_id, "ready")
    container = ours(engine_client, brain)
    assert await agent.stop() == 0
    (agent.home / "state.json").unlink()  # even with its memory lost
    brain.beats.clear()
    agent.start()
    after = await brain.shows(lease.lease_id, "ready")
    assert (ours(engine_client, brain), after.port) == (container, before.port)
    assert "stopping" not in brain.states(lease.lease_id)


async def test_an_image_that_cannot_be_had_fails_with_the_reason(
    brain: AgentBrain, agent: AgentProcess
) -> None:
    agent.start()
    lease = lease_of(await brain.gpu_uuids(1), process=[], arguments=["/none"])
    lease.launch.image = "ganglion/stand-in:test@sha256:" + "0" * 64
    brain.want(lease)

    def reason() -> str:
        seen = brain.seen(lease.lease_id)
        return seen.reason if seen is not None else ""

    assert "ganglion/stand-in" in str(await until(reason, 120))
