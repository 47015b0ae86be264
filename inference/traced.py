"""Connections of a gateway that traces every request (``GATEWAY_TRACE_ALWAYS``)."""

from __future__ import annotations

from inference.extras import Extras
from inference.proxy import ClientConnection


class TracedConnection(ClientConnection):
    """A request without a ``traceparent`` begins a trace of its own."""

    __slots__ = ()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._incoming.extras = Extras()
