"""All links that the agent of one lease opened to this process: one control link, raw ones by port.

An idle raw link lies on the shelf of its port; who needs one takes it, or waits in line while the
agent is asked for more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from inference.link_fate import Fates
from kernel.clock import NS
from kernel.errors import GanglionError, Malformed
from kernel.wire import links as wire

IDLE_LOW = 2  # idle links to the worker's port, below which more are asked for
IDLE_MAX = 1024  # on one shelf
WAITING_MAX = 4096  # on one shelf
ASK_AGAIN_NS = 2 * NS  # links that were asked for and did not come by then are asked for anew

Port = int | str


class Waiting(Protocol):
    """Someone in line for a link. Exactly one of both is called, never inside ``ask``."""

    def link_served(self, transport: asyncio.Transport) -> None: ...

    def link_refused(self, reason: str) -> None: ...


class IdleLink(asyncio.Protocol):
    """A raw link that nobody uses yet: the agent says nothing on it, or loses it."""

    def __init__(self, transport: asyncio.Transport, shelf: Shelf) -> None:
        self.transport = transport
        self._shelf = shelf

    def data_received(self, received: bytes) -> None:
        self._shelf.lose(self)
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._shelf.lose(self)


class Shelf:
    """The idle links to one port, and who waits for one."""

    def __init__(self, port: Port, ask: Callable[[int], bool], now_ns: Callable[[], int]) -> None:
        self._low = IDLE_LOW if port == wire.WORKER else 0
        self._ask = ask
        self._now_ns = now_ns
        self.idle: list[IdleLink] = []
        self.waiting: deque[tuple[int, Waiting]] = deque()
        self._asked = 0
        self._asked_ns = 0

    def take(self) -> asyncio.Transport | None:
        """An idle link, the newest first; it keeps a protocol that drops it until it gets its own.

        Asks for more when few are left.
        """
        while self.idle:
            transport = self.idle.pop().transport
            if len(self.idle) < self._low:
                self.ask()
            if not transport.is_closing():
                return transport
        return None

    def wait(self, waiting: Waiting, deadline_ns: int) -> bool:
        """Stand in line until then; false when the line is too long."""
        if len(self.waiting) >= WAITING_MAX:
            return False
        self.waiting.append((deadline_ns, waiting))
        self.ask()
        return True

    def leave(self, waiting: Waiting) -> None:
        """Give up the place in the line."""
        self.waiting = deque(place for place in self.waiting if place[1] is not waiting)

    def arrived(self, transport: asyncio.Transport) -> None:
        """A link that the agent opened: for the first in line, else kept."""
        self._asked = max(self._asked - 1, 0)
        link = IdleLink(transport, self)
        transport.set_protocol(link)
        if self.waiting:
            self.waiting.popleft()[1].link_served(transport)
        elif len(self.idle) < IDLE_MAX:
            self.idle.append(link)
        else:
            transport.abort()

    def refused(self, count: int, reason: str) -> None:
        """The agent says that so many of the asked links will not come."""
        self._asked = max(self._asked - count, 0)
        for _ in range(min(count, len(self.waiting))):
            self.waiting.popleft()[1].link_refused(reason)

    def lose(self, link: IdleLink) -> None:
        if link in self.idle:
            self.idle.remove(link)

    def ask(self) -> None:
        """Ask the agent for as many as wait, and for the few that are to lie ready."""
        lack = len(self.waiting) + self._low - len(self.idle) - self._asked
        if lack > 0 and self._ask(min(lack, wire.NEED_MAX)):
            self._asked += lack
            self._asked_ns = self._now_ns()

    def ask_anew(self) -> None:
        """A new control link: what was asked over the old one may be lost."""
        self._asked = 0
        if self.waiting:
            self.ask()

    def sweep(self, now_ns: int) -> None:
        """Who waited long enough is refused; what did not come is asked for again."""
        while self.waiting and self.waiting[0][0] <= now_ns:
            self.waiting.popleft()[1].link_refused("no link came in time")
        if self._asked and now_ns - self._asked_ns > ASK_AGAIN_NS:
            self._asked = 0
        if self.waiting or len(self.idle) < self._low:
            self.ask()

    def close(self, reason: str) -> None:
        idle, self.idle = self.idle, []
        for link in idle:
            link.transport.abort()
        while self.waiting:
            self.waiting.popleft()[1].link_refused(reason)


class ControlLink(asyncio.Protocol):
    """Lines to and from the agent; see ``kernel.wire.links``."""

    def __init__(self, transport: asyncio.Transport, lease: LeaseLinks) -> None:
        self.transport = transport
        self._lease = lease
        self._lines = wire.Lines()

    def say(self, line: wire.Line) -> None:
        self.transport.write(wire.write_line(line))

    def data_received(self, received: bytes) -> None:
        try:
            for line in self._lines.take(received):
                self._lease.said(line, self)
        except GanglionError:
            self.transport.abort()

    def pause_writing(self) -> None:
        """The agent does not read what it is asked: let it come anew."""
        self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._lease.control_lost(self)


class LeaseLinks:
    """``key`` proves links; ``epoch`` is the lease's highest that the brain told."""

    def __init__(
        self,
        lease_id: str,
        epoch: int,
        key: bytes,
        *,
        ports_max: int,
        now_ns: Callable[[], int],
    ) -> None:
        self.lease_id = lease_id
        self.epoch = epoch
        self.key = key
        self._ports_max = ports_max
        self._now_ns = now_ns
        self._control: ControlLink | None = None
        self._control_lost_ns = now_ns()
        self._shelves: dict[Port, Shelf] = {}
        # All that stand, as of the last sweep, with the numbers that their agent gave them.
        self.links: dict[asyncio.Transport, int] = {}
        self.fates = Fates(now_ns)
        self.linked: Callable[[], None] = lambda: None  # called when a control link stands anew

    def shelf(self, port: Port) -> Shelf:
        """Raises ``Malformed`` when this lease has links to too many ports."""
        found = self._shelves.get(port)
        if found is None:
            if len(self._shelves) >= self._ports_max:
                raise Malformed("This lease has links to too many ports.")

            def ask(count: int) -> bool:
                return self._ask(count, port)

            found = self._shelves[port] = Shelf(port, ask, self._now_ns)
        return found

    def shelves(self) -> Iterator[Shelf]:
        return iter(list(self._shelves.values()))

    def silent_ns(self) -> int:
        """For how long no control link has stood; 0 while one does."""
        return 0 if self._control is not None else self._now_ns() - self._control_lost_ns

    def arrived(self, transport: asyncio.Transport, port: Port, number: int) -> None:
        """A proved link. A second control link takes the place of the first."""
        self.links[transport] = number
        if port != wire.CONTROL:
            self.shelf(port).arrived(transport)
            return
        before, self._control = self._control, ControlLink(transport, self)
        transport.set_protocol(self._control)
        self.fates.lost()
        if before is not None:
            before.transport.abort()
        for shelf in self.shelves():
            shelf.ask_anew()
        self.linked()

    def control_lost(self, control: ControlLink) -> None:
        if self._control is control:
            self._control = None
            self._control_lost_ns = self._now_ns()
            self.fates.lost()

    def said(self, line: wire.Line, control: ControlLink) -> None:
        """What the agent says over its control link. Raises ``Malformed``."""
        match line:
            case wire.Refuse(count, port, reason):
                self.shelf(port).refused(count, reason)
            case wire.Tells() if control is self._control:
                self.fates.told = True
            case wire.Fate(number, begun) if control is self._control:
                self.fates.take(number, begun=begun)

    def sweep(self, now_ns: int) -> None:
        self.fates.sweep(now_ns)
        for shelf in self.shelves():
            shelf.sweep(now_ns)

    def prune(self) -> list[asyncio.Transport]:
        """Forget links that are closed; returns those."""
        closed = [link for link in self.links if link.is_closing()]
        for link in closed:
            del self.links[link]
        return closed

    def drain(self) -> None:
        """This process stops: the agent opens no more links to it."""
        if self._control is not None:
            self._control.say(wire.Drain())

    def close(self, reason: str, *, cut: bool) -> None:
        """Drop what is idle, refuse who waits; ``cut`` ends what is in use, too."""
        self.fates.lost()
        for shelf in self.shelves():
            shelf.close(reason)
        if self._control is not None:
            self._control.transport.abort()
        if cut:
            for transport in self.links:
                transport.abort()

    def _ask(self, count: int, port: Port) -> bool:
        if self._control is None:
            return False
        self._control.say(wire.Need(count, port))
        return True
