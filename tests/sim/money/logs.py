"""The product's log in a world: nothing is written, and each error that was caught and told there
is kept for the law that says that some fault explains it."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_CAUGHT: list[BaseException] = []


def quiet() -> None:
    """From now on, in this process."""
    structlog.configure(processors=[_keep], cache_logger_on_first_use=False)


def caught() -> list[BaseException]:
    """What was told since the last call."""
    found = list(_CAUGHT)
    _CAUGHT.clear()
    return found


def _keep(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    given = event.get("exc_info")
    error = sys.exc_info()[1] if given is True else given
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        _CAUGHT.append(error)
    raise structlog.DropEvent
