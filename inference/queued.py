"""What a request lets the room know in which it may have to wait, and do: no more than this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from inference.client import Client
from inference.routes import Route
from kernel.errors import GanglionError
from kernel.wire.gateway import KeyRow

if TYPE_CHECKING:
    from inference.body import Ask
    from inference.links import Links
    from inference.payment import Payment
    from inference.snapshot import Deployment

SPENT = ""  # among what was tried: no try can be made any more


class Queued(ABC):
    """The half of an exchange that a ``WaitingRoom`` sees."""

    __slots__ = ("_anew_ns",)

    if TYPE_CHECKING:
        request_id: str
        _ask: Ask | None
        _body: bytes
        _client: Client
        _deployment: Deployment[Links] | None
        _key: KeyRow
        _over: bool
        _payment: Payment | None
        _route: Route
        _tried: list[str]

        def _fail(self, error: GanglionError) -> None: ...

    @property
    def over(self) -> bool:
        return self._over

    @property
    def deployment(self) -> Deployment[Links]:
        assert self._deployment is not None, "it was resolved"
        return self._deployment

    @property
    def key(self) -> KeyRow:
        return self._key

    @property
    def route(self) -> Route:
        return self._route

    @property
    def size(self) -> int:
        """Bytes that it keeps while it waits."""
        return len(self._body)

    @property
    def funded(self) -> bool:
        """Money is held for it."""
        return self._payment is not None

    @property
    def repeatable(self) -> bool:
        """All of it is at hand, to be sent once more."""
        return SPENT not in self._tried

    @property
    def tried(self) -> tuple[str, ...]:
        """Replicas that have had it."""
        return tuple(self._tried)

    @property
    def wants_comments(self) -> bool:
        """Its stream may begin with comments before any worker answers."""
        if self._ask is None or not self._ask.stream or self._route.binary:
            return False
        asked: Callable[[], bool] = getattr(self._client, "wants_comments", bool)
        return asked()  # of clients, only connections can be asked to

    def say(self, comment: bytes) -> None:
        self._client.piece(comment)

    def refuse(self, error: GanglionError) -> None:
        """End it."""
        self._fail(error)

    @abstractmethod
    def wrap(self, make: Callable[[Client, Route, str], Client]) -> None:
        """Answer through another client from here on."""

    def anew(self, now_ns: int) -> None:
        """It leaves the line: how fast a worker is, is measured from here, and each may be asked
        again."""
        self._anew_ns = now_ns
        self._tried.clear()
