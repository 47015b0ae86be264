"""What a conversation and the connection that carries it ask of each other."""

from __future__ import annotations

from typing import Protocol

from kernel.errors import GanglionError

Event = dict[str, object]

GONE_AWAY = 1001  # the gateway stops; the official client connects again
UNSUPPORTED = 1003
POLICY = 1008
TOO_LONG = 4408  # it idled, or lasted, longer than may be
NO_FUNDS = 4402
NO_KEY = 4401


class Outlet(Protocol):
    """The way to the client."""

    def send(self, event: Event) -> None:
        """A JSON event."""
        ...

    def send_bytes(self, content: bytes) -> None: ...

    def close(self, code: int, reason: str) -> None:
        """Ask for the end; nothing more is taken from the client."""
        ...


class Talk(Protocol):
    """A conversation. Every call returns at once."""

    def opened(self) -> None: ...
    def text(self, content: bytes) -> None: ...
    def binary(self, content: bytes) -> None: ...

    def refused(self, error: GanglionError) -> None:
        """What the client sent was no message: to be told before the connection ends."""
        ...

    def paused(self) -> None:
        """The client reads too slowly: workers are to wait."""
        ...

    def resumed(self) -> None: ...
    def watch(self, now_ns: int) -> None: ...

    def gone(self) -> None:
        """The client is gone: whatever runs for it is stopped."""
        ...

    @property
    def busy(self) -> bool:
        """Something runs that the client waits for."""
        ...

    @property
    def hearing(self) -> bool:
        """The client is in the middle of saying something."""
        ...
