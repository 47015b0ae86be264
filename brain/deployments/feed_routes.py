"""GET /internal/changes: the snapshot, then what changes, one JSON object a line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Annotated, Literal

import structlog
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from brain.deployments.feed import FOR_FRONTS, FOR_GATEWAYS, Feed
from brain.edge import gateway_link
from brain.fleet import LinkGateways
from kernel.wire import encode

log = structlog.get_logger(__name__)
router = APIRouter(tags=["internal"], dependencies=[Depends(gateway_link)])


@router.get("/internal/changes", response_class=StreamingResponse, include_in_schema=False)
async def changes(
    request: Request,
    boot_id: Annotated[str, Query(min_length=1, max_length=200)] = "unnamed",
    want: Annotated[Literal["", "pods"], Query()] = "",
    link_url: Annotated[str, Query(max_length=500, pattern=r"^(https?://[!-~]+)?$")] = "",
) -> StreamingResponse:
    """For gateways, and with ``want=pods`` for the fronts of pods, which are told of pods alone.
    The stream ends when the gateway lags too far behind: it asks anew.

    While it stands, agents are told to open links to ``link_url``.
    """
    feed: Feed = request.app.state.feed
    gateways: LinkGateways = request.app.state.link_gateways
    feed.check_open()  # while a refusal can still be said
    pods = want == "pods"
    listening = gateways.listening(boot_id, link_url, pods=pods)
    lines = _lines(feed, boot_id, FOR_FRONTS if pods else FOR_GATEWAYS, listening)
    return StreamingResponse(lines, media_type="application/x-ndjson")


async def _lines(
    feed: Feed, boot_id: str, wants: frozenset[str], listening: AbstractContextManager[None]
) -> AsyncIterator[bytes]:
    with listening:
        async with feed.subscribe(wants) as subscriber:
            log.info("gateway_listens", boot_id=boot_id)
            while True:
                line = await subscriber.lines.get()
                if line is None:
                    log.info("gateway_let_go", boot_id=boot_id)
                    return
                yield encode(line) + b"\n"
