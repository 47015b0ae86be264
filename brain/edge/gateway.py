"""The door of /internal: only this installation's gateways, by ``GATEWAY_TOKEN``."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from kernel.errors import Unauthenticated

_scheme = HTTPBearer(
    scheme_name="gatewayToken",
    description="GATEWAY_TOKEN. For this installation's gateways only.",
    auto_error=False,
)


async def gateway_link(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_scheme)]
) -> None:
    """FastAPI dependency: ``APIRouter(dependencies=[Depends(gateway_link)])``."""
    expected: str = request.app.state.gateway_token
    shown = "" if given is None else given.credentials
    if not hmac.compare_digest(shown.encode("utf-8", "surrogatepass"), expected.encode()):
        raise Unauthenticated("Send GATEWAY_TOKEN as 'Authorization: Bearer ...'.")
