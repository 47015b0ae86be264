"""All links of one lease to one gateway: the control link, and raw ones as they are needed.

A few raw links to the worker lie open at the gateway before anyone needs them. What a raw link
leads to is connected only when the gateway first says something over it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field

import structlog
from tenacity import RetryCallState, Retrying
from tenacity.wait import wait_random_exponential

from kernel.clock import Clock
from kernel.errors import GanglionError
from kernel.wire import links as wire
from node_agent.link_dial import Dialler, LinkRefused
from node_agent.link_raw import RawLink

log = structlog.get_logger(__name__)
IDLE_LINKS = 4  # raw links to the worker that lie ready at each gateway
RAW_MAX = 1024  # raw links of one lease at one gateway
DIALS_MAX = 32  # at a time
BACK_OFF_SECONDS = 0.3
BACK_OFF_SECONDS_MAX = 10.0

Port = int | str
Shell = Callable[[str, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Tie:
    """A lease whose work can be reached: where its ports are published on this host."""

    lease_id: str
    epoch: int
    key: bytes = field(repr=False)
    port: int  # the worker's; 0: it has none
    ports: dict[int, int] = field(default_factory=dict)  # inside -> published
    shell: bool = False
    pod: bool = False  # the fronts of pods lead to it, not the gateways of models

    def published(self, port: Port) -> int:
        """Where a link to this port leads; 0: nowhere."""
        if port == wire.WORKER:
            return self.port
        return self.ports.get(port, 0) if isinstance(port, int) else 0


@dataclass(frozen=True)
class Gear:
    """What every tether of an agent works with."""

    dialler: Dialler
    clock: Clock
    boot_ns: Callable[[], int]
    shell: Shell | None
    lost: Callable[[], None]  # told when a control link is lost, or a first one cannot be had


class Tether:
    """``run`` it until the lease or the gateway is over; then ``cut``."""

    def __init__(self, gear: Gear, tie: Tie, gateway: str, url: str) -> None:
        self.tie = tie
        self.gateway = gateway
        self.listed = True  # the brain still names this gateway
        self._gear = gear
        self._url = url
        self._number = gear.boot_ns()  # above those of every earlier tether of this lease here
        self._control: Control | None = None
        self._fresh: set[RawLink] = set()
        self._raw: set[RawLink] = set()
        self._dialling = 0
        self._failures = 0
        self._draining = False
        self._resting = False
        self._dials = asyncio.Semaphore(DIALS_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Keep a control link for as long as the brain names the gateway, or it stands."""
        while self.listed:
            try:
                await self._hold_control()
                self._failures = 0
            except LinkRefused as refusal:
                self._failures += 1
                log.debug("link_refused", lease_id=self.tie.lease_id, reason=refusal.internal)
                if self._failures == 1:
                    self._gear.lost()
            await self._gear.clock.sleep(self._pause())

    def cut(self) -> None:
        """End every link at once."""
        for task in list(self._tasks):
            task.cancel()
        for link in list(self._raw):
            link.abort()
        if self._control is not None:
            self._control.transport.abort()

    # What links tell.

    def said(self, line: wire.Line) -> None:
        match line:
            case wire.Drain():
                self._draining = True
            case wire.Need(count, port):
                self._needed(count, port)

    def used(self, link: RawLink) -> None:
        """A fresh link carries something: another takes its place."""
        self._failures = 0
        self._fresh.discard(link)
        self._fill()

    def lost(self, link: RawLink) -> None:
        self._raw.discard(link)
        if link in self._fresh:
            self._fresh.discard(link)
            self._fill_later()

    def tell(self, line: wire.Line) -> None:
        """Say it to the gateway, while a control link stands."""
        if self._control is not None:
            self._control.transport.write(wire.write_line(line))

    def start(self, work: Coroutine[None, None, None]) -> None:
        """A task that ends with the tether."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def shell(self) -> Shell | None:
        return self._gear.shell if self.tie.shell else None

    # The control link, and raw ones.

    async def _hold_control(self) -> None:
        """Returns when the control link is lost. Raises ``LinkRefused`` when none came to be."""
        transport, said, _ = await self._dial(wire.CONTROL)
        control = self._control = Control(transport, self)
        self._draining = False
        transport.set_protocol(control)
        self.tell(wire.Tells())
        control.data_received(said)
        transport.resume_reading()
        log.info("linked", lease_id=self.tie.lease_id, gateway=self.gateway)
        self._fill()
        try:
            await control.over.wait()
            self._gear.lost()
        finally:
            self._control = None
            transport.abort()

    def _needed(self, count: int, port: Port) -> None:
        why = self._why_not(port, count)
        if why:
            self.tell(wire.Refuse(count, port, why))
            return
        for _ in range(count):
            self._dialling += 1
            self.start(self._open_raw(port))

    def _why_not(self, port: Port, count: int) -> str:
        if len(self._raw) + self._dialling + count > RAW_MAX:
            return "this lease has too many links"
        if port == wire.EXEC:
            return "" if self.shell() is not None else "no shell can be opened in this work"
        return "" if self.tie.published(port) else f"the work has no port {port}"

    def _fill(self) -> None:
        """As many fresh links as are to lie ready, where the work has a port of its own."""
        if self._control is None or self._draining or not self.tie.port or self._resting:
            return
        while len(self._fresh) + self._dialling < IDLE_LINKS and len(self._raw) < RAW_MAX:
            self._dialling += 1
            self.start(self._open_raw(wire.WORKER))

    def _fill_later(self) -> None:
        """After a failure, with patience."""
        if self._resting or self._control is None:
            return
        self._resting = True
        self._failures += 1
        self.start(self._rest())

    async def _rest(self) -> None:
        await self._gear.clock.sleep(self._pause())
        self._resting = False
        self._fill()

    async def _open_raw(self, port: Port) -> None:
        try:
            async with self._dials:
                transport, said, number = await self._dial(port)
        except LinkRefused as refusal:
            log.debug("link_refused", lease_id=self.tie.lease_id, reason=refusal.internal)
            self._dialling -= 1
            self._fill_later()
            return
        except asyncio.CancelledError:
            self._dialling -= 1
            raise
        self._dialling -= 1
        link = RawLink(self, port, number)
        link.connection_made(transport)
        transport.set_protocol(link)
        self._raw.add(link)
        if port == wire.WORKER:
            self._fresh.add(link)
        if said:
            link.take(said)
        else:
            transport.resume_reading()

    async def _dial(self, port: Port) -> tuple[asyncio.Transport, bytes, int]:
        """A link, what the gateway said over it already, and the link's number."""
        tie = self.tie
        self._number += 1
        link = wire.LinkRequest(tie.lease_id, tie.epoch, port, self.gateway, self._number)
        transport, said = await self._gear.dialler.open(self._url, link, tie.key)
        return transport, said, link.number

    def _pause(self) -> float:
        """Longer after each failure, and never the same on two nodes."""
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = min(self._failures + 1, 10)
        wait = wait_random_exponential(multiplier=BACK_OFF_SECONDS, max=BACK_OFF_SECONDS_MAX)
        return max(float(wait(state)), BACK_OFF_SECONDS / 2)


class Control(asyncio.Protocol):
    """The gateway's lines."""

    def __init__(self, transport: asyncio.Transport, tether: Tether) -> None:
        self.transport = transport
        self.over = asyncio.Event()
        self._tether = tether
        self._lines = wire.Lines()

    def data_received(self, received: bytes) -> None:
        try:
            for line in self._lines.take(received):
                self._tether.said(line)
        except GanglionError:
            self.transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.over.set()
