"""Every failure of the management API as an RFC 9457 problem, with one sentence that helps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from brain.edge.context import request_id
from kernel.errors import (
    BadInput,
    Conflict,
    Forbidden,
    GanglionError,
    LimitReached,
    Malformed,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
    problem,
)

PROBLEM_JSON = "application/problem+json"
ERRORS_SHOWN_MAX = 10

_log = structlog.get_logger()


class MethodNotAllowed(BadInput):
    """Use one of the methods that the ``Allow`` header names."""

    status: ClassVar[int] = 405
    code: ClassVar[str] = "method_not_allowed"
    title: ClassVar[str] = "This path has no such method"


class UnsupportedMedia(BadInput):
    """Send JSON and say so."""

    status: ClassVar[int] = 415
    code: ClassVar[str] = "unsupported_media_type"
    title: ClassVar[str] = "The content type is not supported"


class TooSlow(BadInput):
    """Send the body faster."""

    status: ClassVar[int] = 408
    code: ClassVar[str] = "request_timeout"
    title: ClassVar[str] = "The request body took too long"


def render(
    error: GanglionError, *, rid: str | None, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer to ``error``. ASCII on the wire: a broken character in it breaks nothing."""
    out = dict(headers or {})
    if isinstance(error, Unauthenticated):
        out.setdefault("www-authenticate", "Bearer")
    if error.retry_after is not None:
        out.setdefault("retry-after", str(error.retry_after))
    content = json.dumps(problem(error, request_id=rid), default=str).encode()
    return Response(content, status_code=error.status, headers=out, media_type=PROBLEM_JSON)


def install(app: FastAPI) -> None:
    """Put the renderings on ``app``. What is not expected is met by the furniture (500)."""
    app.add_exception_handler(GanglionError, _expected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(PoolTimeout, _database)
    app.add_exception_handler(OSError, _database)


async def _expected(request: Request, error: Exception) -> Response:
    assert isinstance(error, GanglionError), "registered for this class only"
    if error.internal is not None or error.status >= 500:
        _log.warning("refused", code=error.error_code, detail=error.detail, internal=error.internal)
    return render(error, rid=request_id(request))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for this class only"
    return render(explain(error.errors()), rid=request_id(request))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for this class only"
    ours = translate(error, request.method, request.url.path)
    return render(ours, rid=request_id(request), headers=error.headers)


def translate(error: HTTPException, method: str, path: str) -> GanglionError:
    """The framework's own refusals, as ours."""
    where, detail = path[:200], str(error.detail)
    allowed = (error.headers or {}).get("Allow", "another method")
    match error.status_code:
        case 400:
            return Malformed("The body cannot be read as JSON; see /docs for its shape.")
        case 401:
            return Unauthenticated(detail)
        case 403:
            return Forbidden(detail)
        case 404:
            return NotFound(f"There is nothing at {where}; /docs lists every path.")
        case 405:
            return MethodNotAllowed(f"{where} does not take {method}; use {allowed}.")
        case 408:
            return TooSlow(detail)
        case 413:
            return TooLarge(detail)
        case 415:
            return UnsupportedMedia(detail)
        case 429:
            return LimitReached(detail, retry_after=1)
        case 503:
            return Unavailable(detail, retry_after=1)
        case _:
            return BadInput(detail)


# PostgreSQL's classes of trouble that pass by themselves: the same request can be sent again.
_COLLISIONS = ("40001", "40P01", "55P03")
_UNSTORABLE = ("22021", "22P05")


async def _database(request: Request, error: Exception) -> Response:
    """The database is away or contended: 503. A statement that is wrong stays our fault: 500."""
    state = str(getattr(getattr(error, "orig", None), "sqlstate", "") or "")
    away = isinstance(error, (OperationalError, InterfaceError, PoolTimeout, OSError)) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )
    found: GanglionError
    if state in _UNSTORABLE:
        found = BadInput("The request holds a character that cannot be stored, such as NUL.")
    elif state in _COLLISIONS:
        found = Conflict(
            "Someone else changed the same thing meanwhile; send the request again.",
            retry_after=1,
        )
    elif away or state[:2] in {"08", "53", "57"}:
        found = Unavailable("The database is away; send the request again.", retry_after=2)
    else:
        raise error
    _log.error("database_failed", sqlstate=state or None, failure=type(error).__name__)
    return render(found, rid=request_id(request))


def explain(errors: Sequence[Any]) -> BadInput:
    """One sentence for what pydantic found. Never shows the value: it may be a secret."""
    if any(error.get("type") == "json_invalid" for error in errors):
        return Malformed("The body is not valid JSON.")
    found = [_one(error) for error in errors[:ERRORS_SHOWN_MAX]]
    first = found[0]
    if len(errors) == 1:
        sentence = f"{first['field']}: {first['message']}."
    else:
        sentence = f"{first['field']}: {first['message']} (and {len(errors) - 1} more)."
    return BadInput(sentence, param=first["field"], errors=found)


def _one(error: Mapping[str, Any]) -> dict[str, str]:
    place = [str(part)[:60] for part in error.get("loc", ())][:6]
    where = place[0] if place else "body"
    field = ".".join(place[1:]) or where
    kind = str(error.get("type", ""))
    if kind == "extra_forbidden":
        message = "there is no such field"
    elif kind == "missing" and field == "body":
        message = "a JSON body is needed"
    elif kind == "missing":
        message = "this field is needed"
    elif kind in {"model_attributes_type", "dict_type", "model_type"} and field == "body":
        message = "the body must be a JSON object sent as application/json"
    else:
        message = str(error.get("msg", "is not valid")).removesuffix(".")
        message = message.removeprefix("Value error, ")
    return {"field": field, "message": message}


def describe(openapi: dict[str, Any]) -> None:
    """Put our problems into the OpenAPI document, in place of the framework's error shape."""
    schemas = openapi.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM_SCHEMA
    answer = {
        "description": "Any failure, as an RFC 9457 problem.",
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for path in openapi.get("paths", {}).values():
        for operation in path.values():
            responses = operation["responses"]
            responses.pop("422", None)
            responses["default"] = answer


PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "description": "urn:ganglion:problem:<code>"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence that says what to do."},
        "code": {"type": "string", "description": "Stable; for programs."},
        "param": {"type": "string", "description": "The field at fault."},
        "request_id": {"type": "string", "description": "Also in x-request-id."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
