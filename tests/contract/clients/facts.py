"""What a client made of one step, in words that every walk uses. The standard library alone: the
walks of clients that have an environment of their own import it from beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def facts_of(call: Callable[[], int]) -> dict[str, Any]:
    """How much was answered, else the classes of what was raised and what that tells."""
    try:
        return {"raised": [], "said": call()}
    except Exception as error:
        return raised(error)


def raised(error: Exception) -> dict[str, Any]:
    return {
        "raised": [kind.__name__ for kind in type(error).__mro__],
        "status": getattr(error, "status_code", None),
        "code": getattr(error, "code", None) or getattr(error, "type", None),
        "request_id": getattr(error, "request_id", None),
        "message": str(error)[:300],
    }
