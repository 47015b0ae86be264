"""A connection to the link listener that has not proved yet which lease it is of."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from inference.link_lease import LeaseLinks
from kernel.errors import GanglionError
from kernel.wire import links as wire


class Gatekeeper(Protocol):
    """Who decides about callers."""

    def came(self, caller: Caller) -> str:
        """Count a new connection; why it is refused, or an empty text."""
        ...

    def left(self, caller: Caller) -> None:
        """A connection that proved nothing is closed."""
        ...

    def deadlines(self) -> tuple[int, int]:
        """When a new connection must have said who it is, and be known."""
        ...

    def decide(self, asked: wire.Asked) -> LeaseLinks | tuple[int, str] | None:
        """Whose link it is, or the status and sentence of a refusal; None: not known yet."""
        ...

    def proved(
        self, caller: Caller, transport: asyncio.Transport, asked: wire.Asked, lease: LeaseLinks
    ) -> None:
        """From here on it is a link."""
        ...

    def refused(self, caller: Caller, status: int, reason: str) -> None: ...


class Caller(asyncio.Protocol):
    """Says who it is within a time and a size, or is refused with a sentence."""

    def __init__(self, gate: Gatekeeper) -> None:
        self._gate = gate
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._asked: wire.Asked | None = None
        self._say_ns, self._known_ns = gate.deadlines()
        self._proved = False
        self.address = ""
        self.waits_for = ""  # the lease that this process has not been told of yet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.address = str((transport.get_extra_info("peername") or ("unknown",))[0])
        if reason := self._gate.came(self):
            self.refuse(503, reason)

    def data_received(self, received: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._head += received
        end = self._head.find(wire.HEAD_END)
        if self._asked is not None or 0 <= end < len(self._head) - len(wire.HEAD_END):
            self.refuse(400, "An agent says nothing before the answer.")
        elif end >= 0:
            try:
                self._asked = wire.read_request(self._head)
            except GanglionError as error:
                self.refuse(error.status, error.detail)
            else:
                self.decide()
        elif len(self._head) > wire.HEAD_BYTES_MAX:
            self.refuse(400, "This head is too long for a link.")

    def decide(self) -> None:
        """Let it in, refuse it, or let it wait until its lease is known."""
        transport, asked = self._transport, self._asked
        if transport is None or asked is None or transport.is_closing():
            return
        found = self._gate.decide(asked)
        if found is None:
            self.waits_for = asked.link.lease_id
        elif isinstance(found, tuple):
            self.refuse(*found)
        else:
            self._proved = True
            self._gate.proved(self, transport, asked, found)

    def watch(self, now_ns: int) -> None:
        if self._asked is None and now_ns > self._say_ns:
            self.refuse(408, "The head of the link did not come in time.")
        elif self._asked is not None and now_ns > self._known_ns:
            self.refuse(404, "This lease is not known here.")

    def refuse(self, status: int, reason: str) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._gate.refused(self, status, reason)
        self._transport.write(wire.refuse_head(status, reason))
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if not self._proved:
            self._gate.left(self)
