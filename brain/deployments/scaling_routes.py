"""POST /internal/gateway/load: what gateways have of deployments that follow their load."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from brain.deployments import scaling
from brain.deployments.routes import CtxIn, WakeIn
from brain.edge import gateway_link
from kernel.errors import BadInput, Malformed
from kernel.wire import encode
from kernel.wire.gateway import LoadAnswer, LoadReport

router = APIRouter(
    prefix="/internal/gateway", tags=["internal"], dependencies=[Depends(gateway_link)]
)


async def _report(request: Request) -> LoadReport:
    try:
        return msgspec.json.decode(await request.body(), type=LoadReport)
    except msgspec.ValidationError as error:
        raise BadInput(f"Not a valid LoadReport message: {error}.") from None
    except msgspec.DecodeError as error:
        raise Malformed(f"The body is not JSON: {error}.") from None


@router.post("/load", include_in_schema=False)
async def load(
    report: Annotated[LoadReport, Depends(_report)], ctx: CtxIn, wake: WakeIn
) -> Response:
    """Requests that wait wake a deployment at once."""
    if await scaling.reported(ctx, report):
        wake()
    return Response(encode(LoadAnswer(len(report.loads))), media_type="application/json")
