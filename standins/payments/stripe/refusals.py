"""How the emulated Stripe says no: its error types, codes and sentences."""

from __future__ import annotations

from typing import Any

DOCS = "https://stripe.com/docs/error-codes/"
CODES_NEVER_KEPT = (400, 401, 404, 409, 429)  # what no idempotency key remembers


class Refused(Exception):
    """A request that is not done, in Stripe's words. ``objects`` go into the error body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str = "",
        param: str = "",
        headers: tuple[tuple[str, str], ...] = (),
        **objects: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.headers = headers
        self.objects = objects

    def body(self) -> dict[str, Any]:
        error: dict[str, Any] = {"message": self.message, "type": self.kind}
        if self.code:
            error["code"] = self.code
            error["doc_url"] = DOCS + self.code.replace("_", "-")
        if self.param:
            error["param"] = self.param
        error.update({name: thing for name, thing in self.objects.items() if thing is not None})
        return {"error": error}


def invalid(message: str, param: str = "", code: str = "", **objects: Any) -> Refused:
    return Refused(400, message, param=param, code=code, **objects)


def no_such(kind: str, wanted: str, *, param: str = "") -> Refused:
    """404 where the path names it, 400 where a parameter does."""
    words = f"No such {kind}: '{wanted}'"
    status = 400 if param else 404
    return Refused(status, words, code="resource_missing", param=param or "id")


def required(param: str) -> Refused:
    return invalid(f"Missing required param: {param}.", param, "parameter_missing")


def wrong_state(message: str, **objects: Any) -> Refused:
    """For intents: ``payment_intent_unexpected_state`` and its sister, by what is handed in."""
    name = next(iter(objects))
    return invalid(message, code=f"{name}_unexpected_state", **objects)


def throttled() -> Refused:
    return Refused(
        429,
        "Request rate limit exceeded. Learn more about rate limits here "
        "https://stripe.com/docs/rate-limits.",
        code="rate_limit",
        headers=(("stripe-rate-limited-reason", "global-rate"),),
    )


def lock_timeout() -> Refused:
    return Refused(
        429,
        "This object cannot be accessed right now because another API request or Stripe process "
        "is currently accessing it.",
        code="lock_timeout",
        headers=(("stripe-rate-limited-reason", "resource-specific"),),
    )
