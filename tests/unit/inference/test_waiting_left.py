"""Who hangs up in line has left: nothing is ended twice, whatever becomes of the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.gateway import snapshot
from inference.gateway import Gateway
from inference.limits.meter import Slots
from inference.waiting import TICK_SECONDS
from kernel.clock import ManualClock
from tests.support.wait import until
from tests.support.wireless import client_of, gateway_alone, request, tell

ASKED = request(
    "/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]}
)
ROUTE = "chat"


def sleeping(*, waits: bool = True) -> dict[str, object]:
    """The deployment has no worker: one comes, or none."""
    told: dict[str, Any] = snapshot(1)
    told["replicas"] = []
    told["deployments"][0]["waits"] = waits
    return told


@pytest.fixture
async def gateway(tmp_path: Path) -> Gateway:
    gateway = gateway_alone(tmp_path, ManualClock())
    tell(gateway, sleeping())
    return gateway


def at_once(gateway: Gateway) -> list[int]:
    """What is used of each limit of requests at once."""
    return [part.used for part in gateway.limits._parts.values() if isinstance(part, Slots)]


@pytest.mark.feature("A9", "D6")
async def test_who_left_before_its_deployment_failed_to_start(gateway: Gateway) -> None:
    left, _ = client_of(gateway)
    left.data_received(ASKED)
    left.connection_lost(None)
    tell(gateway, sleeping(waits=False))
    await until(lambda: not gateway.waiting.waiting(only_deployment(gateway)), every=TICK_SECONDS)
    assert at_once(gateway) == [0]
    assert gateway.metrics.requests[ROUTE] == {499: 1}


@pytest.mark.feature("A9", "D6")
async def test_who_waits_when_its_deployment_fails_to_start_is_told(gateway: Gateway) -> None:
    stays, wire = client_of(gateway)
    stays.data_received(ASKED)
    tell(gateway, sleeping(waits=False))
    await until(lambda: wire.written, every=TICK_SECONDS)
    assert wire.written[0].startswith(b"HTTP/1.1 503")
    assert at_once(gateway) == [0]


def only_deployment(gateway: Gateway) -> str:
    (deployment_id,) = gateway.tables.deployments
    return str(deployment_id)
