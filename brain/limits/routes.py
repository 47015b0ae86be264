"""The route at which our own gateways ask for leases. Bodies are ``kernel.wire.limits``."""

from __future__ import annotations

import msgspec
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from brain.edge import gateway_link
from brain.limits.dealing import Dealer
from kernel.errors import BadInput, Malformed
from kernel.wire import encode
from kernel.wire.limits import LimitsRequest

router = APIRouter(
    prefix="/internal/gateway",
    tags=["internal"],
    dependencies=[Depends(gateway_link)],
    include_in_schema=False,
)


@router.post("/limits")
async def limits(request: Request) -> Response:
    dealer: Dealer = request.app.state.dealer
    try:
        asked = msgspec.json.decode(await request.body(), type=LimitsRequest)
    except msgspec.ValidationError as error:
        raise BadInput(f"Not a valid LimitsRequest message: {error}.") from None
    except msgspec.DecodeError as error:
        raise Malformed(f"The body is not JSON: {error}.") from None
    return Response(encode(await dealer.deal(asked)), media_type="application/json")
