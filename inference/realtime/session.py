"""What the sessions of all three routes share: errors that are told, and ends that are due."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from inference.realtime import events
from inference.realtime.caller import Caller
from inference.realtime.leg import Leg
from inference.realtime.outlet import NO_FUNDS, NO_KEY, POLICY, Event, Outlet
from kernel.clock import NS
from kernel.errors import GanglionError, OutOfCredit, Unauthenticated


class Session(ABC):
    """Its legs are paused, watched and stopped together."""

    def __init__(self, caller: Caller, outlet: Outlet) -> None:
        self._caller = caller
        self._outlet = outlet
        self._session_id = self._new("sess")
        self._event_id: str | None = None  # of the client's event that is being served
        self._over = False
        self._halted = False  # the client reads too slowly: nothing new is begun

    @abstractmethod
    def _legs(self) -> list[Leg]:
        """Those that run."""

    @abstractmethod
    def _serve(self, kind: str, content: bytes) -> None:
        """One event of the client's, of this kind. Raises what the client is told."""

    def text(self, content: bytes) -> None:
        """An event: its errors name it."""

        def serve() -> None:
            head = events.head(content)
            self._event_id = head.event_id
            self._serve(head.type, content)

        self._event_id = None
        self._try(serve)
        self._event_id = None

    def refused(self, error: GanglionError) -> None:
        self._event_id = None
        self._failed(error)

    @property
    def busy(self) -> bool:
        return bool(self._legs())

    @property
    def hearing(self) -> bool:
        return False

    def paused(self) -> None:
        self._halted = True
        for leg in self._legs():
            leg.pause()

    def resumed(self) -> None:
        self._halted = False
        for leg in self._legs():
            leg.resume()

    def watch(self, now_ns: int) -> None:
        barred = self._caller.barred()
        if barred is not None:
            self._failed(barred)
            return
        most_ns = round(self._caller.gateway.settings.gateway_socket_leg_seconds_max * NS)
        for leg in self._legs():
            leg.watch(now_ns, most_ns)

    def _new(self, kind: str) -> str:
        """An id."""
        return f"{kind}_{self._caller.gateway.request_ids.new()[4:]}"

    def _send(self, kind: str, **members: object) -> None:
        if not self._over:
            event: Event = {"type": kind, "event_id": self._new("event"), **members}
            self._outlet.send(event)

    def _try(self, serve: Callable[[], None]) -> None:
        try:
            serve()
        except GanglionError as error:
            self._failed(error)

    def _begin(self, serve: Callable[[], None]) -> None:
        """For what the address alone says: nothing can mend it later."""
        try:
            serve()
        except GanglionError as error:
            self._failed(error)
            self._outlet.close(POLICY, error.detail[:100])

    def _failed(self, error: GanglionError) -> None:
        """Tell the client; the session goes on, unless the key or the money is at its end."""
        if self._over:
            return
        self._outlet.send(events.error_event(error, self._event_id, self._new("event")))
        if isinstance(error, OutOfCredit | Unauthenticated):
            code = NO_FUNDS if isinstance(error, OutOfCredit) else NO_KEY
            self._outlet.close(code, error.detail[:100])
