"""Routes for our own gateways: hello, slices, usage. Bodies are ``kernel.wire.gateway``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, TypeVar

import msgspec
import structlog
from fastapi import APIRouter, Depends, FastAPI
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import Response

from brain.billing.core.intake import read_batch
from brain.billing.service import gateway as service
from brain.billing.service.gateway import MeterPolicy
from brain.edge import get_ctx
from brain.identity import gateway_link
from brain.plumbing import Ctx
from kernel.errors import BadInput, Malformed
from kernel.wire import encode
from kernel.wire.gateway import Hello, SliceRequest

RECEIVING_SECONDS = 1
STOP_SECONDS_MAX = 5

T = TypeVar("T")

_log = structlog.get_logger()


@asynccontextmanager
async def receiving(app: FastAPI) -> AsyncIterator[None]:
    """While this process serves, say once a second that the brain can receive and write."""
    stopping = asyncio.Event()
    task = asyncio.create_task(_beat(app.state.ctx, stopping))
    yield
    # A driver may swallow one cancellation in the middle of a connect; the flag then ends the loop.
    stopping.set()
    task.cancel()
    await asyncio.wait({task}, timeout=STOP_SECONDS_MAX)


async def _beat(ctx: Ctx, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        try:
            await service.receiving_beat(ctx)
        except (SQLAlchemyError, OSError) as error:
            # The database's absence is what the missing beat then tells.
            _log.warning("receiving_beat_failed", error=type(error).__name__)
        if not stopping.is_set():
            await ctx.clock.sleep(RECEIVING_SECONDS)


router = APIRouter(
    prefix="/internal/gateway",
    tags=["internal"],
    dependencies=[Depends(gateway_link)],
    include_in_schema=False,
)

CtxIn = Annotated[Ctx, Depends(get_ctx)]


@router.post("/hello")
async def hello(request: Request, ctx: CtxIn) -> Response:
    message = await _body(request, Hello)
    return _answer(await service.hello(ctx, message, policy_of(request)))


@router.post("/slices")
async def slices(request: Request, ctx: CtxIn) -> Response:
    return _answer(await service.slice_asked(ctx, await _body(request, SliceRequest)))


@router.post("/usage")
async def usage(request: Request, ctx: CtxIn) -> Response:
    reading = read_batch(await request.body())
    return _answer(
        await service.usage_reported(ctx, reading.batch, policy_of(request), reading.asides)
    )


def policy_of(request: Request) -> MeterPolicy:
    """The meter's figures, from the process's settings where it has some."""
    settings = getattr(request.app.state, "settings", None)
    if settings is None:
        return MeterPolicy()
    return MeterPolicy(
        window_seconds=settings.meter_window_seconds,
        close_seconds_max=settings.meter_window_close_seconds_max,
        installation_id=settings.installation_id,
        usage_days=settings.usage_days,
    )


async def _body(request: Request, kind: type[T]) -> T:
    """The message; 400 when it is no JSON, 422 naming the field that is wrong."""
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except msgspec.ValidationError as error:
        raise BadInput(f"Not a valid {kind.__name__} message: {error}.") from None
    except msgspec.DecodeError as error:
        raise Malformed(f"The body is not JSON: {error}.") from None


def _answer(message: object) -> Response:
    return Response(encode(message), media_type="application/json")
