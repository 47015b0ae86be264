"""A client that hangs up is seen by its worker: every route, at every stage that it has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from inference.routes import INFERENCE, SOCKET, every_route
from tests.support.aborts import POSTS, SOCKETS, Leaver, stages, tables, witness
from tests.support.gateway import Gateway, launch
from tests.support.wait import free_port, until

PATHS = (*POSTS, *SOCKETS)
WORKER = free_port()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    started = launch(tmp_path_factory.mktemp("gateway"), tables(WORKER))
    yield started
    started.kill()


@pytest.mark.feature("A11")
@pytest.mark.parametrize("path", PATHS)
async def test_the_worker_sees_it_at_every_stage(gateway: Gateway, path: str) -> None:
    async with witness(WORKER) as worker:
        leaver = Leaver(gateway.port, worker)
        for stage in stages(path):
            await leaver.leave(path, stage)
    assert await until(lambda: gateway.metric("ganglion_gateway_in_flight") == 0)


@pytest.mark.feature("A11")
def test_no_route_is_forgotten() -> None:
    served = {one.path.decode() for one in every_route() if one.kind in (INFERENCE, SOCKET)}
    assert served == set(PATHS)
