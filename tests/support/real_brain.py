"""The brain's app behind a port, for gateways that are processes: its tables are the test's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Mount, Route

from brain.app import create_app
from brain.plumbing import Ctx
from kernel.clock import SystemClock
from kernel.wire import encode
from kernel.wire.digest import snapshot_digest
from kernel.wire.gateway import ChangeLine, Snapshot
from tests.support.brain import quick_passwords, settings_for_tests
from tests.support.wait import free_port, stretch, until


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield  # the test's own


@asynccontextmanager
async def real_brain(ctx: Ctx, database_url: str, tables: Snapshot) -> AsyncIterator[str]:
    """The brain's app over a real database and clock; its gateways are told of ``tables``."""

    async def changes(_: Request) -> StreamingResponse:
        async def lines() -> AsyncIterator[bytes]:
            yield encode(ChangeLine(snapshot=tables)) + b"\n"
            while True:
                yield encode(ChangeLine(digest=snapshot_digest(tables))) + b"\n"
                await stretch(1)

        return StreamingResponse(lines())

    live = replace(ctx, clock=SystemClock())
    app = create_app(settings_for_tests(database_url), ctx=live, passwords=quick_passwords())
    routes = [Route("/internal/changes", changes), Mount("/", app)]
    front = Starlette(routes=routes)
    port = free_port()
    config = uvicorn.Config(front, port=port, lifespan="off", log_config=None, ws="none")
    config.timeout_graceful_shutdown = 1
    server = Server(config)
    running = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await running
