"""Errors as the OpenAI clients read them: whole HTTP answers, and frames inside a stream."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec

from kernel.errors import GanglionError, Malformed, NotFound, openai_error

_ENCODE = msgspec.json.Encoder().encode
REASONS = {int(status): status.phrase for status in HTTPStatus}
LINE = "\r\n"  # before each further line that travels behind a request's id
ANTHROPICS_ID = f"{LINE}request-id: "  # where Anthropic's clients look for it
RETRY_SECONDS_MAX = 120  # the official client gives up on more


class MethodNotAllowed(GanglionError):
    """The path exists; use the method that the ``allow`` header names."""

    status, code, title = 405, "method_not_allowed", "This method is not allowed here"
    openai_type = "invalid_request_error"


class HeadTooLarge(GanglionError):
    """Send fewer or shorter headers."""

    status, code, title = 431, "headers_too_large", "The request headers are too large"
    openai_type = "invalid_request_error"


class UpgradeRequired(GanglionError):
    """Open a WebSocket on this route."""

    status, code, title = 426, "upgrade_required", "This route is a WebSocket"
    openai_type = "invalid_request_error"


class UnsupportedMedia(GanglionError):
    """Send the body in the form that this route takes."""

    status, code, title = 415, "unsupported_media_type", "This route takes another kind of body"
    openai_type = "invalid_request_error"


class RequestTimeout(GanglionError):
    """The request did not arrive in time; send it again."""

    status, code, title = 408, "request_timeout", "The request did not arrive in time"
    openai_type = "invalid_request_error"
    retryable = True


class WorkerRefused(GanglionError):
    """The worker found fault with the request; its own answer is passed on."""

    title = "The model worker refused the request"
    openai_type = "invalid_request_error"

    def __init__(self, status: int, body: bytes, *, retry_after: int | None = None) -> None:
        super().__init__("The model worker refused the request.", retry_after=retry_after)
        self.refusal_status = status
        self.body = body


class WorkerError(msgspec.Struct):
    """What an OpenAI-like server writes under ``error``; every field may be missing."""

    message: str = ""
    type: Any = None
    param: Any = None
    code: Any = None


class _WorkerBody(msgspec.Struct):
    error: Any = None
    message: str | None = None
    detail: Any = None


_DECODE = msgspec.json.Decoder(_WorkerBody).decode


def worker_error(said: object) -> WorkerError:
    """What stands under ``error``, whatever shape it has."""
    try:
        return msgspec.convert(said, WorkerError)
    except msgspec.ValidationError:
        return WorkerError(message=str(said)[:500])


def unknown_route(path: str) -> GanglionError:
    return NotFound(f"There is no route {path[:80]!r}.", code="unknown_url")


def model_not_found(model: str) -> GanglionError:
    return NotFound(
        f"The model {model[:200]!r} does not exist or you do not have access to it.",
        code="model_not_found",
        param="model",
    )


def bad_field(param: str, detail: str) -> GanglionError:
    return Malformed(detail, code="invalid_value", param=param)


def body_of(error: GanglionError) -> bytes:
    """The JSON body for an error."""
    if isinstance(error, WorkerRefused):
        return _worker_body(error.refusal_status, error.body)
    return _ENCODE(openai_error(error))


def body_for(said: WorkerError) -> bytes:
    """What a worker said of a failure, as the body that it would have sent by itself."""
    return _ENCODE({"error": said})


def said_of(error: GanglionError) -> dict[str, Any]:
    """What stands under ``error`` in its body; of a refusal, the worker's own words."""
    if isinstance(error, WorkerRefused):
        said: dict[str, Any] = _DECODE(_worker_body(error.refusal_status, error.body)).error
        return said
    told: dict[str, Any] = openai_error(error)["error"]
    return told


def words_of(error: GanglionError) -> str:
    """What a person is told."""
    if isinstance(error, WorkerRefused):
        return worker_error(said_of(error)).message or error.detail
    return error.detail


def status_of(error: GanglionError) -> int:
    return error.refusal_status if isinstance(error, WorkerRefused) else error.status


def frame_of(error: GanglionError) -> bytes:
    """An in-band error event: the official clients raise on it. No ``[DONE]`` may follow."""
    return b"data: " + _ENCODE({"error": said_of(error)}) + b"\n\n"


def answer_of(
    error: GanglionError,
    request_id: str,
    *,
    close: bool,
    head_only: bool = False,
    body_of: Callable[[GanglionError], bytes] = body_of,
) -> bytes:
    """The whole HTTP/1.1 answer; ``body_of`` gives its JSON in the shape of a route's dialect."""
    status, body = status_of(error), body_of(error)
    lines = [
        f"HTTP/1.1 {status} {REASONS.get(status, 'Error')}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        f"x-request-id: {request_id}",
        f"x-should-retry: {'true' if _should_retry(error, status) else 'false'}",
    ]
    if ANTHROPICS_ID not in request_id:
        lines.append(f"request-id: {request_id.partition(LINE)[0]}")
    wait = error.retry_after
    if wait is None and status in (429, 503):
        wait = 1
    if wait is not None:
        lines.append(f"retry-after: {min(max(wait, 0), RETRY_SECONDS_MAX)}")
    if "retry_after_ms" in error.extra:
        most = RETRY_SECONDS_MAX * 1000
        lines.append(f"retry-after-ms: {min(error.extra['retry_after_ms'], most)}")
    if status == 401:
        lines.append("www-authenticate: Bearer")
    if isinstance(error, MethodNotAllowed):
        lines.append(f"allow: {error.extra['allow']}")
    if close:
        lines.append("connection: close")
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head if head_only else head + body


def _should_retry(error: GanglionError, status: int) -> bool:
    return error.retryable or status in (429, 503)


def _worker_body(status: int, body: bytes) -> bytes:
    """A worker's refusal in the shape clients read, whatever shape it came in."""
    try:
        seen = _DECODE(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        seen = _WorkerBody()
    if isinstance(seen.error, dict) and worker_error(seen.error).message:
        return body
    if seen.error:
        message = str(seen.error)
    elif seen.message:
        message = seen.message
    elif status == 404:
        message = "The worker of this deployment does not serve this route or model."
    else:
        message = f"The model worker refused the request with status {status}."
    plain = Malformed(message[:2000], code="worker_refused")
    return _ENCODE(openai_error(plain))
