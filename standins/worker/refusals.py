"""The errors vLLM 0.32 gives, word for word where a client could look at them."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """A request that is answered with an error object."""

    def __init__(
        self, message: str, *, kind: str = "BadRequestError", status: int = 400, param: str | None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.status = status
        self.param = param

    def body(self) -> dict[str, Any]:
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.status,
            }
        }


def bad_value(message: str, name: str, value: object) -> Refusal:
    """A value that the engine's own checks refuse."""
    shown = f"(parameter={name}, value={value})"
    return Refusal(f"{message} {shown}", param=name)


def bad_field(problem: str, name: str, message: str, given: object) -> Refusal:
    """A field of the wrong type or missing: vLLM's schema check speaks otherwise."""
    place = f"body.{name}" if name else "body"
    entry = {"type": problem, "loc": place, "msg": message, "input": _shown(given)}
    return Refusal(f"1 validation error:\n  {entry}", kind="Bad Request", param=place)


def no_model(asked: str, served: str) -> Refusal:
    message = f"The model `{asked}` does not exist. Valid aliases: {served}."
    return Refusal(message, kind="NotFoundError", status=404, param="model")


def no_pooling_model(asked: str) -> Refusal:
    """What the routes of embeddings and scores say instead."""
    message = f"The model `{asked}` does not exist."
    return Refusal(message, kind="NotFoundError", status=404, param=None)


def engine_gone() -> Refusal:
    """What a request gets that was running when the engine stopped."""
    return Refusal(
        "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        kind="InternalServerError",
        status=500,
        param=None,
    )


def queue_full() -> Refusal:
    message = "The request queue is full. Please retry later."
    return Refusal(message, kind="ServiceUnavailableError", status=503, param=None)


def asked_for(status: int) -> Refusal:
    """A fault of kind ``status``."""
    kinds = {429: "TooManyRequestsError", 500: "InternalServerError", 503: "ServiceUnavailable"}
    kind = kinds.get(status, "BadRequestError" if status < 500 else "InternalServerError")
    message = f"The Ganglion stand-in worker was told to answer {status}."
    return Refusal(message, kind=kind, status=status, param=None)


def _shown(given: object) -> object:
    if isinstance(given, dict):
        return f"<dict of {len(given)} items>"
    if isinstance(given, list):
        return f"<list of {len(given)} items>"
    return given if not isinstance(given, str) else given[:80]
