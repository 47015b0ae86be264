"""A front, what stands for its brain and its node, and a server inside the "pod"."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from kernel.wire.gateway import PodRow
from tests.support.brain_double import BrainDouble
from tests.support.pod_front import LINK_KEY, PodFront, front_with, link_address, pod_row
from tests.support.pod_node import PodNode, node_for

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class World:
    front: PodFront
    brain: BrainDouble
    node: PodNode

    @property
    def port(self) -> int:
        return self.front.port


Begin = Callable[..., Awaitable[World]]


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    """``await begin(serve, row, SETTING=value)``: the pod's port 8000 is served by ``serve``."""
    async with AsyncExitStack() as stack:

        async def start(
            serve: Serve | None = None, row: PodRow | None = None, **settings: object
        ) -> World:
            row = row or pod_row()
            targets: dict[int, int] = {}
            if serve is not None:
                server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20)
                stack.callback(server.close)
                targets[8000] = server.sockets[0].getsockname()[1]
            front, brain = await stack.enter_async_context(
                front_with(tmp_path / "front", row, **settings)
            )
            boot_id, url = link_address(brain)
            node = await stack.enter_async_context(
                node_for(boot_id, url, row.lease_id, LINK_KEY, targets=targets)
            )
            return World(front, brain, node)

        yield start
