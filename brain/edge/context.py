"""What a route is handed: the context, put on the app by wiring."""

from __future__ import annotations

from starlette.requests import Request

from brain.plumbing import Ctx


def get_ctx(request: Request) -> Ctx:
    """FastAPI dependency: ``ctx: Ctx = Depends(get_ctx)``."""
    ctx: Ctx = request.app.state.ctx
    return ctx


def request_id(request: Request) -> str | None:
    """The id that the answer carries as ``x-request-id``."""
    found: str | None = getattr(request.state, "request_id", None)
    return found
