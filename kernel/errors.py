"""One error tree, named by what the caller can do next, with two renderings.

``problem`` is RFC 9457 (management API); ``openai_error`` is the body the OpenAI clients read
(they map by status and read ``error.{message,type,param,code}``). ``detail`` is public;
``internal`` goes to the log and never leaves the process.
"""

from __future__ import annotations

from typing import Any, ClassVar


class GanglionError(Exception):
    """Base of all expected failures. Subclasses fix the status and code."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something failed on our side"
    openai_type: ClassVar[str] = "server_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str,
        *,
        internal: object = None,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.internal = internal
        self.error_code = code or self.code
        self.param = param
        self.retry_after = retry_after
        self.extra = extra


class BadInput(GanglionError):
    """Mend the request, then send it again."""

    status, code, title = 422, "bad_input", "The request cannot be understood"
    openai_type = "invalid_request_error"


class Malformed(BadInput):
    """The bytes are not what the content type says (400)."""

    status, code, title = 400, "malformed", "The request is malformed"


class TooLarge(BadInput):
    status, code, title = 413, "too_large", "The request body is too large"


class Unauthenticated(GanglionError):
    """Come back with a valid credential."""

    status, code, title = 401, "unauthenticated", "A valid credential is needed"
    openai_type = "authentication_error"


class OutOfCredit(GanglionError):
    """Top up first. Clients do not retry a 402."""

    status, code, title = 402, "insufficient_quota", "The account is out of credit"
    openai_type = "insufficient_quota"


class Forbidden(GanglionError):
    """This principal may not do this."""

    status, code, title = 403, "forbidden", "This is not allowed"
    openai_type = "permission_error"


class NotFound(GanglionError):
    """There is no such thing, or it is another account's."""

    status, code, title = 404, "not_found", "There is no such thing"
    openai_type = "not_found_error"


class Conflict(GanglionError):
    """The world is in another state than the request needs; look, then decide."""

    status, code, title = 409, "conflict", "This conflicts with the present state"
    openai_type = "conflict_error"


class LimitReached(GanglionError):
    """Wait ``retry_after`` seconds."""

    status, code, title = 429, "rate_limit_exceeded", "A limit was reached"
    openai_type = "rate_limit_error"
    retryable = True


class NoCapacity(GanglionError):
    """Nothing free fits now; try later or change the constraints."""

    status, code, title = 503, "no_capacity", "Nothing free fits this request"
    retryable = True


class Unavailable(GanglionError):
    """A part we need is away; the same request can be sent again."""

    status, code, title = 503, "unavailable", "A part of the service is away"
    retryable = True


class UpstreamFailed(GanglionError):
    """A worker or outside service failed or answered nonsense."""

    status, code, title = 502, "upstream_failed", "The model worker failed"
    retryable = True


class UpstreamTimeout(UpstreamFailed):
    status, code, title = 504, "upstream_timeout", "The model worker did not answer in time"


def problem(error: GanglionError, *, request_id: str | None = None) -> dict[str, Any]:
    """RFC 9457 body: ``type``, ``title``, ``status``, ``detail`` and our own members."""
    body: dict[str, Any] = {
        "type": f"urn:ganglion:problem:{error.error_code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.error_code,
    }
    if error.param is not None:
        body["param"] = error.param
    if request_id is not None:
        body["request_id"] = request_id
    if error.extra:
        body.update(error.extra)
    return body


def openai_error(error: GanglionError) -> dict[str, Any]:
    """The body the official OpenAI clients read."""
    return {
        "error": {
            "message": error.detail,
            "type": error.openai_type,
            "param": error.param,
            "code": error.error_code,
        }
    }
