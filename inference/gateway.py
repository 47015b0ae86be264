"""What all connections of one gateway process share, and the slow beat that watches over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from inference.bodies import Bodies
from inference.idempotency import MemoryDesk, Replays
from inference.limits import Limits
from inference.limits.address import networks
from inference.link_listener import LinkListener
from inference.link_reverse import ReverseLinks
from inference.links import Links
from inference.meter import Residence, Target
from inference.metrics import Metrics
from inference.reading import Reading
from inference.requests import RequestIds
from inference.route import Replica, weigh
from inference.settings import Settings
from inference.slices import Slice
from inference.snapshot import Account, Tables
from inference.spool import Spool
from inference.upload_spill import Spills
from inference.waiting import WaitingRoom
from kernel.clock import NS, Clock
from kernel.errors import GanglionError, Unavailable
from kernel.ids import BootId, Ids
from kernel.wire.gateway import REVERSE, KeyRow, ReplicaRow

if TYPE_CHECKING:
    from inference.exchange import Exchange

SWEEP_SECONDS = 0.25
TARGETS_MAX = 10_000  # for each replica


def day_number(clock: Clock) -> int:
    """Today (UTC) as yyyymmdd."""
    today = clock.now()
    return today.year * 10000 + today.month * 100 + today.day


class Funding(Protocol):
    """Where slices come from. ``ask`` is called when an account's purse has waiters."""

    def ask(self, account: Account) -> None: ...


class Connection(Protocol):
    """A client's connection, whatever it speaks."""

    deadline_ns: int

    def watch(self, now_ns: int) -> None:
        """Called on each beat after ``deadline_ns``."""
        ...

    def shut(self) -> None:
        """The gateway is going."""
        ...


class Unlimited:
    """Funding without a brain: every account has all the money it asks for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def ask(self, account: Account) -> None:
        now_ns = self._clock.monotonic_ns()
        account.purse.granted(Slice("", granted=1 << 62, touched_ns=now_ns), now_ns)


class Gateway:
    """The tables, the spool, the counters, and who is connected."""

    def __init__(
        self, settings: Settings, clock: Clock, ids: Ids, boot_id: BootId, *, alone: bool
    ) -> None:
        self.settings = settings
        self.boot_id = str(boot_id)  # plain text: it goes into every segment
        self.request_ids = RequestIds(clock, ids)
        self.now_ns = clock.monotonic_ns
        self.wall_ns = clock.now_ns()  # as of the last sweep
        self._clock = clock
        self.metrics = Metrics()
        self.reading = Reading()
        self.link_listener = LinkListener(self.boot_id, settings.link_terms(), clock)
        self.tables: Tables[Links] = Tables(self._make_links, self._retire_links)
        self.exchanges: set[Exchange] = set()
        self.unheard: set[Residence] = set()  # left, and not counted before their agent says how
        self.connections: set[Connection] = set()
        self.alone = alone
        self.connected = alone  # the stream of changes is up
        self.heard_ns = clock.monotonic_ns()  # when it last said anything
        self.stale = False
        self.draining = False  # each answer is the last of its connection
        self.closing = False  # nothing new is taken
        self.funding: Funding = Unlimited(clock)
        self.limits = Limits(
            clock.monotonic_ns,
            alone=alone,
            per_address=settings.gateway_address_requests_per_minute,
            failures=settings.gateway_address_failures_per_minute,
            trusted=networks(settings.gateway_trusted_proxies),
        )
        self.waiting = WaitingRoom(self)
        self.replays = Replays(MemoryDesk(clock), clock)
        self.offset_ns = 0
        self.window_ns = round(settings.gateway_cut_seconds_max * NS)
        self.day = day_number(clock)
        self.total_ns = round(settings.gateway_total_seconds_max * NS)
        self.first_byte_ns = round(settings.gateway_first_byte_seconds_max * NS)
        self.idle_ns = round(settings.gateway_idle_seconds_max * NS)
        self.head_bytes_max = settings.gateway_head_bytes_max
        self.bodies = Bodies(settings.gateway_bodies_bytes_max)
        self.body_bytes_max = settings.gateway_body_bytes_max
        self.head_ns = round(settings.gateway_head_seconds_max * NS)
        self.body_ns = round(settings.gateway_body_seconds_max * NS)
        self.keepalive_ns = round(settings.gateway_keepalive_seconds * NS)
        self.slice_wait_ns = round(settings.gateway_slice_wait_seconds * NS)
        self.tick_ns = clock.monotonic_ns()
        self._target_number = 0
        self._window = self.tick_ns // self.window_ns
        self._ticked_ns = 0
        self.spills = Spills(settings.gateway_spool_dir, settings.gateway_upload_spill_bytes_max)
        self.spool = Spool(
            settings.gateway_spool_dir,
            boot_id,
            file_bytes=settings.gateway_spool_file_bytes,
            bytes_max=settings.gateway_spool_bytes_max,
            residences=self.residences,
            keep_unread=not alone,
        )

    def check_fresh(self) -> None:
        """Refuse work that could not be rightly admitted. Raises ``Unavailable``."""
        if not self.tables.loaded:
            raise Unavailable("The gateway is starting; try again.", retry_after=1)
        if self.stale:
            raise Unavailable("The gateway has lost touch; try again later.", retry_after=30)
        if self.closing:
            raise Unavailable("This gateway is shutting down; try again.", retry_after=1)

    def why_not_ready(self) -> str | None:
        """One sentence, or ``None`` when new clients are to be sent here."""
        if self.draining:
            return "This gateway is shutting down; try again."
        try:
            self.check_fresh()
        except GanglionError as error:
            return error.detail
        return None

    def target(self, replica: Replica[Links], key: KeyRow, model: str, route: str) -> Target:
        """What a request with this key is booked on when this replica answers."""
        name = (key.key_id, model, route)
        known = replica.targets.get(name)
        if known is not None:
            return known
        if len(replica.targets) >= TARGETS_MAX:
            replica.targets.clear()
        self._target_number += 1
        row = replica.row
        target = replica.targets[name] = Target(
            number=self._target_number,
            account_id=key.account_id,
            key_id=key.key_id,
            deployment_id=row.deployment_id,
            replica_id=row.replica_id,
            lease_id=row.lease_id,
            epoch=row.epoch,
            model=model[:200],
            route=route,
        )
        return target

    def heard(self) -> None:
        """The brain said something."""
        self.connected = True
        self.stale = False
        self.heard_ns = self.now_ns()

    def sweep(self) -> None:
        """Every ``SWEEP_SECONDS``: deadlines, cuts, ticks. Never on the path of a request."""
        now_ns = self.tick_ns = self.now_ns()
        self.day = day_number(self._clock)
        self.wall_ns = self._clock.now_ns()
        self.request_ids.tick()
        settings = self.settings
        if not self.alone:
            silent_ns = now_ns - self.heard_ns
            self.stale = silent_ns > settings.snapshot_stale_seconds * NS
        if self.exchanges and now_ns - self._ticked_ns >= NS:
            self._ticked_ns = now_ns
            self.spool.tick(now_ns)
        window = (now_ns + self.offset_ns) // self.window_ns
        crossed, self._window = window != self._window, window
        for exchange in list(self.exchanges):
            exchange.watch(now_ns, cut=crossed)
        for connection in [one for one in self.connections if one.deadline_ns < now_ns]:
            connection.watch(now_ns)
        for deployment in self.tables.deployments.values():
            if len(deployment.replicas) > 1:
                weigh(deployment.replicas)
        for account in self.tables.accounts.values():
            if account.purse.waiters:
                account.purse.expire(now_ns)
        self.limits.beat(now_ns)
        self.metrics.settle()
        self._sweep_links(now_ns)

    def gauges(self) -> dict[str, float]:
        return {
            "in_flight": len(self.exchanges),
            "connections": len(self.connections),
            "ready": self.why_not_ready() is None,
            "brain_connected": self.connected,
            "snapshot_age_seconds": 0 if self.alone else (self.now_ns() - self.heard_ns) / NS,
            "replicas": len(self.tables.replicas),
            "usage_lost": self.spool.lost,
            "body_bytes": self.bodies.used,
            "upload_disk_bytes": self.spills.used,
            **self.limits.gauges(),
            **self.link_listener.gauges(),
            **self.waiting.gauges(),
        }

    def _sweep_links(self, now_ns: int) -> None:
        idle_ns = round(self.settings.gateway_link_idle_seconds * NS)
        for replica in self.tables.replicas.values():
            replica.links.sweep(now_ns, idle_ns)

    def _make_links(self, row: ReplicaRow) -> Links:
        seconds_max = self.settings.gateway_connect_seconds_max
        if row.link.kind != REVERSE:
            return Links(row.link, self.reading, connect_seconds_max=seconds_max)
        lease = self.link_listener.expect(row.lease_id, row.epoch, row.link.key)
        lease.linked = lambda: self._linked(row.replica_id)
        return ReverseLinks(
            row.link,
            self.reading,
            lease,
            connect_seconds_max=seconds_max,
            now_ns=self.now_ns,
        )

    def _retire_links(self, row: ReplicaRow, links: Links, superseded: bool) -> None:
        links.close()
        if row.link.kind == REVERSE:
            self.link_listener.forget(row.lease_id, row.epoch, cut=superseded)

    def _linked(self, replica_id: str) -> None:
        """A worker that could not be reached can be now."""
        replica = self.tables.replicas.get(replica_id)
        if replica is not None:
            replica.breaker.rested()

    def residences(self) -> list[Residence]:
        """All whose open piece is still to be ended."""
        with_workers = [one.residence for one in self.exchanges if one.residence is not None]
        return [*with_workers, *self.unheard]
