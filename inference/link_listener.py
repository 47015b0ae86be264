"""Where agents' links come in: a port of this process's own, and who may speak there.

``expect`` names a lease with its key (as the brain told it), ``forget`` ends that. ``open`` hands
out a raw connection to a port of its work. The gateway's own way to workers is ``ReverseLinks``.
The brain learns the address with the stream of changes (``Brain.changes``), and tells agents.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from inference.link_caller import Caller
from inference.link_lease import LeaseLinks, Port
from kernel.clock import NS, Clock
from kernel.errors import BadInput, GanglionError, Unavailable
from kernel.wire import links as wire

SWEEP_SECONDS = 0.25
BACKLOG = 1024
NUMBERS_KEPT = 20_000  # leases whose used numbers are remembered
# A peer that vanished is found by the kernel, on idle links too.
KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
_HERE_ALONE = ("127.0.0.1", "::1", "localhost")


class Log(Protocol):
    def info(self, event: str, **facts: object) -> None: ...
    def warning(self, event: str, **facts: object) -> None: ...


@dataclass(frozen=True)
class LinkTerms:
    """Where to listen, what agents are told, and how much of each there may be.

    ``url`` empty: the address listened on. ``address_max`` counts all connections of one
    address, and ``unverified_max`` those of anyone who has not proved a lease yet.
    """

    host: str = "127.0.0.1"
    port: int = 0
    url: str = ""
    certificate: Path | None = None
    certificate_key: Path | None = None
    lease_max: int = 1024
    address_max: int = 8192
    unverified_max: int = 1024
    ports_max: int = 64
    say_seconds_max: float = 5.0  # to send a whole head
    known_seconds_max: float = 10.0  # until the brain told this process of the lease


class LinkListener:
    """``start`` and ``close`` it once; the rest may be called in between, and ``expect`` before."""

    def __init__(self, boot_id: str, terms: LinkTerms, clock: Clock) -> None:
        self.boot_id = boot_id
        self._terms = terms
        self._clock = clock
        self._now_ns = clock.monotonic_ns
        self._leases: dict[str, LeaseLinks] = {}
        self._numbers: dict[tuple[str, int], wire.Numbers] = {}
        self._callers: set[Caller] = set()
        self._addresses: Counter[str] = Counter()
        self._address_of: dict[asyncio.Transport, str] = {}
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._port = 0
        self._draining = False
        self._refused = 0
        self._told_ns = -NS
        self._log: Log = structlog.get_logger("inference.links")

    @property
    def url(self) -> str:
        """Where agents reach this process; what the brain is told. Known after ``start``."""
        if self._terms.url:
            return self._terms.url.rstrip("/").replace("{port}", str(self._port))
        scheme = "https" if self._terms.certificate else "http"
        host = f"[{self._terms.host}]" if ":" in self._terms.host else self._terms.host
        return f"{scheme}://{host}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises ``OSError``, or ``BadInput`` when agents could not be told where."""
        if not self._terms.url and self._terms.host in ("0.0.0.0", "::", ""):
            raise BadInput(
                "Set GATEWAY_LINK_URL to the address where agents reach this gateway:"
                " GATEWAY_LINK_HOST listens on all addresses and names none."
            )
        door = _door(self._terms.host, self._terms.port)
        self._port = door.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Caller(self), sock=door, backlog=BACKLOG, ssl=_tls(self._terms)
        )
        self._sweeping = loop.create_task(self._sweep_always(), name="links-sweep")
        self._log.info("links_listening", url=self.url, boot_id=self.boot_id)
        if not self._terms.url and self._terms.host in _HERE_ALONE:
            self._log.info("links_from_this_machine_alone", setting="GATEWAY_LINK_URL")

    async def close(self) -> None:
        """End every link, used ones too."""
        if self._server is not None:
            self._server.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
        for caller in list(self._callers):
            caller.refuse(503, "This gateway stops.")
        for lease in self._leases.values():
            lease.close("this gateway stops", cut=True)

    def drain(self) -> None:
        """Tell all agents that this process stops; what runs goes on until ``close``."""
        self._draining = True
        for lease in self._leases.values():
            lease.drain()

    def expect(self, lease_id: str, epoch: int, key: str) -> LeaseLinks:
        """Take links of this lease from now on; ``key`` is hex. May be repeated.

        A higher epoch ends all links of the lower; a lower one changes nothing.
        """
        known = self._leases.get(lease_id)
        if known is not None and known.epoch >= epoch:
            return known
        if known is not None:
            known.close("the lease has a new epoch", cut=True)
        fresh = self._leases[lease_id] = LeaseLinks(
            lease_id,
            epoch,
            _key_bytes(key),
            ports_max=self._terms.ports_max,
            now_ns=self._now_ns,
        )
        for caller in [one for one in self._callers if one.waits_for == lease_id]:
            caller.decide()
        return fresh

    def forget(self, lease_id: str, epoch: int, *, cut: bool = False) -> None:
        """Take no more links of this lease; what is in use goes on until its user ends it,
        or is cut too."""
        known = self._leases.get(lease_id)
        if known is not None and known.epoch <= epoch:
            del self._leases[lease_id]
            known.close("the lease has ended", cut=cut)

    async def open(
        self, lease_id: str, epoch: int, port: Port, deadline_s: float
    ) -> asyncio.Transport:
        """A raw connection to a port of the lease's work (a number, or ``"exec"``).

        Nothing has been read from it; give it a protocol by ``set_protocol`` at once (and call
        the protocol's ``connection_made`` yourself), then look at ``is_closing``: a connection
        that was lost before that tells nobody. Raises ``Unavailable`` with a sentence when none
        came within ``deadline_s`` seconds, or when the node says why not.
        """
        lease = self._leases.get(lease_id)
        if lease is None or lease.epoch != epoch:
            raise Unavailable("This work does not run now; try again.", retry_after=1)
        try:
            shelf = lease.shelf(port)
        except GanglionError as error:
            raise Unavailable(error.detail) from error
        transport = shelf.take()
        if transport is not None:
            return transport
        line = InLine()
        if not shelf.wait(line, self._now_ns() + round(deadline_s * NS)):
            raise Unavailable("Too many wait for this node; try again.", retry_after=1)
        try:
            return await line.served
        except asyncio.CancelledError:
            shelf.leave(line)
            line.give_up()
            raise

    def gauges(self) -> dict[str, float]:
        shelves = [shelf for lease in self._leases.values() for shelf in lease.shelves()]
        return {
            "links": sum(len(lease.links) for lease in self._leases.values()),
            "links_idle": sum(len(shelf.idle) for shelf in shelves),
            "links_waiting": sum(len(shelf.waiting) for shelf in shelves),
            "links_unverified": len(self._callers),
            "links_refused": self._refused,
        }

    # What callers ask for.

    def came(self, caller: Caller) -> str:
        """Count a new connection; why it is refused, or an empty text."""
        self._callers.add(caller)
        self._addresses[caller.address] += 1
        if self._draining:
            return "This gateway stops."
        if len(self._callers) > self._terms.unverified_max:
            return "Too many connections wait to prove who they are."
        if self._addresses[caller.address] > self._terms.address_max:
            return "Too many connections from this address."
        return ""

    def left(self, caller: Caller) -> None:
        """A connection that proved nothing is closed."""
        self._callers.discard(caller)
        self._uncount(caller.address)

    def deadlines(self) -> tuple[int, int]:
        """When a new connection must have said who it is, and be known."""
        now_ns = self._now_ns()
        known_ns = now_ns + round(self._terms.known_seconds_max * NS)
        return now_ns + round(self._terms.say_seconds_max * NS), known_ns

    def decide(self, asked: wire.Asked) -> LeaseLinks | tuple[int, str] | None:
        """Whose link it is, or the status and sentence of a refusal; None: not known yet."""
        link = asked.link
        if link.gateway != self.boot_id:
            return 409, "Another gateway process listens here now; ask the brain anew."
        lease = self._leases.get(link.lease_id)
        if lease is None or link.epoch > lease.epoch:
            return None if link.port == wire.CONTROL else (404, "This lease is not known here.")
        if link.epoch < lease.epoch:
            return 409, f"Epoch {link.epoch} of this lease is over."
        try:
            wire.check(asked, lease.key)
            if not self._numbers_of(link).take(link.number):
                return 409, "This link was opened before (number)."
            if len(lease.links) >= self._terms.lease_max:
                self._prune(lease)
            if len(lease.links) >= self._terms.lease_max:
                return 429, "This lease has too many links."
            if link.port != wire.CONTROL:
                lease.shelf(link.port)
        except GanglionError as error:
            return error.status, error.detail
        return lease

    def proved(
        self, caller: Caller, transport: asyncio.Transport, asked: wire.Asked, lease: LeaseLinks
    ) -> None:
        """From here on it is a link."""
        self._callers.discard(caller)
        self._address_of[transport] = caller.address
        transport.write(wire.accept_head(asked.link, lease.key))
        lease.arrived(transport, asked.link.port, asked.link.number)

    def refused(self, caller: Caller, status: int, reason: str) -> None:
        """Count it; whoever asks again and again fills no log."""
        self._refused += 1
        now_ns = self._now_ns()
        if now_ns - self._told_ns >= NS:
            self._told_ns = now_ns
            facts = {"address": caller.address, "status": status, "reason": reason}
            self._log.warning("link_refused", **facts, refused=self._refused)

    def _numbers_of(self, link: wire.LinkRequest) -> wire.Numbers:
        name = (link.lease_id, link.epoch)
        if name not in self._numbers and len(self._numbers) >= NUMBERS_KEPT:
            gone = [one for one in self._numbers if one[0] not in self._leases]
            for one in gone or list(self._numbers)[:1]:
                del self._numbers[one]
        return self._numbers.setdefault(name, wire.Numbers())

    def _prune(self, lease: LeaseLinks) -> None:
        lease.prune()
        for transport in [one for one in self._address_of if one.is_closing()]:
            self._uncount(self._address_of.pop(transport))

    def _uncount(self, address: str) -> None:
        self._addresses[address] -= 1
        if self._addresses[address] <= 0:
            del self._addresses[address]

    async def _sweep_always(self) -> None:
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            now_ns = self._now_ns()
            for caller in list(self._callers):
                caller.watch(now_ns)
            for lease in list(self._leases.values()):
                lease.sweep(now_ns)
                lease.prune()
            for transport in [one for one in self._address_of if one.is_closing()]:
                self._uncount(self._address_of.pop(transport))


class InLine:
    """One who waits for a link in ``open``."""

    def __init__(self) -> None:
        self.served: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

    def link_served(self, transport: asyncio.Transport) -> None:
        if self.served.done():
            transport.abort()
        else:
            self.served.set_result(transport)

    def link_refused(self, reason: str) -> None:
        if not self.served.done():
            error = Unavailable(f"The node cannot be reached: {reason}.", retry_after=1)
            self.served.set_exception(error)

    def give_up(self) -> None:
        """Nobody waits any more: a link that came in the same moment is closed."""
        if self.served.done() and not self.served.cancelled() and not self.served.exception():
            self.served.result().abort()
        self.served.cancel()


def _door(host: str, port: int) -> socket.socket:
    """The listening socket; what it is set to, its connections inherit."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, seconds in KEEPALIVE:
            door.setsockopt(socket.IPPROTO_TCP, option, seconds)
        door.bind((host, port))
        door.setblocking(False)
    except OSError:
        door.close()
        raise
    return door


def _tls(terms: LinkTerms) -> ssl.SSLContext | None:
    if terms.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(terms.certificate, terms.certificate_key)
    return context


def _key_bytes(key: str) -> bytes:
    try:
        found = bytes.fromhex(key)
    except ValueError:
        found = b""
    if len(found) != wire.KEY_BYTES:
        raise BadInput("A link key is 64 hex digits.")
    return found
