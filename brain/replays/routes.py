"""Doors for our own gateways. Bodies are ``kernel.wire.replays``."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from brain.edge import gateway_link
from brain.replays.service import Replays
from kernel.errors import BadInput, TooLarge
from kernel.wire import encode
from kernel.wire.replays import ANSWER_BYTES_MAX, Claim, Settle, Settled

BODY_BYTES_MAX = 2 * ANSWER_BYTES_MAX  # an answer in base64, and some

T = TypeVar("T")

router = APIRouter(
    prefix="/internal/gateway/replays",
    tags=["internal"],
    dependencies=[Depends(gateway_link)],
    include_in_schema=False,
)


def get_replays(request: Request) -> Replays:
    replays: Replays = request.app.state.replays
    return replays


ReplaysIn = Annotated[Replays, Depends(get_replays)]


@router.post("/claim")
async def claim(request: Request, replays: ReplaysIn) -> Response:
    return _answer(await replays.claim(await _body(request, Claim)))


@router.post("/settle")
async def settle(request: Request, replays: ReplaysIn) -> Response:
    return _answer(Settled(known=await replays.settle(await _body(request, Settle))))


async def _body(request: Request, kind: type[T]) -> T:
    received = await request.body()
    if len(received) > BODY_BYTES_MAX:
        raise TooLarge(f"At most {BODY_BYTES_MAX} bytes are taken here.")
    try:
        return msgspec.json.decode(received, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadInput(f"Not a valid {kind.__name__} message: {error}.") from None


def _answer(message: object) -> Response:
    return Response(encode(message), media_type="application/json")
