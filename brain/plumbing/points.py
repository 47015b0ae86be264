"""Marks in the code where a crash would matter. In production nothing happens at them.

A test or a simulation hands its own ``Points``, lets one mark raise ``Killed``, and looks at
what is left: what was committed, and what the outside world did.
"""

from __future__ import annotations

from typing import Protocol


class Killed(BaseException):
    """The process died here. Not an ``Exception``: nothing in the product may catch a death."""


class Points(Protocol):
    """Told of every mark that is reached; may raise ``Killed``."""

    async def reach(self, name: str) -> None: ...


class NoPoints:
    """Production: every mark is passed at once."""

    async def reach(self, name: str) -> None:
        return None
