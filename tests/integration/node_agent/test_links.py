"""The agent's links to gateways: workers on a node with no reachable port serve requests."""

from __future__ import annotations

import pytest

from tests.support.agent_brain import AgentBrain
from tests.support.agent_process import AgentProcess
from tests.support.gateway import Gateway, StartGateway
from tests.support.links import link_address, linked, linked_lease, tables_of
from tests.support.wait import until

MESSAGES = [{"role": "user", "content": "Hello"}]


def gateway_for(start: StartGateway, *leases: object, **settings: object) -> Gateway:
    rows = [linked(lease, number) for number, lease in enumerate(leases, 1)]  # type: ignore[arg-type]
    return start(tables_of(*rows), gateway_link_port=0, **settings)


@pytest.mark.feature("C2")
async def test_a_worker_is_reached_over_links_alone(
    brain: AgentBrain, agent: AgentProcess, start_gateway: StartGateway
) -> None:
    agent.start()
    lease = linked_lease(await brain.gpu_uuids(1))
    gateway = gateway_for(start_gateway, lease)
    brain.gateways = [link_address(gateway)]
    brain.want(lease)
    await until(lambda: gateway.metric("ganglion_gateway_links_idle") >= 4, 60)
    client = gateway.async_client()
    stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)  # type: ignore[call-overload]
    words = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert "stand-in" in "".join(words)
    plain = await client.chat.completions.create(model="m", messages=MESSAGES)  # type: ignore[call-overload]
    assert plain.choices[0].message.content == "".join(words)
