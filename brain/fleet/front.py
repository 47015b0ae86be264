"""Where agents' calls arrive: one object per brain process, in front of the database.

A beat is answered from memory; PostgreSQL sees it in one statement a second for all nodes
together. Only what changes (a lease's state, the GPUs) is written at once. Nothing here is the
truth: a process that dies loses at most a second of "last seen", which the grace covers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

from brain.fleet import batch, core, desk, leases, rented, sessions
from brain.fleet.batch import Batch
from brain.fleet.desk import Desk, Inventory
from brain.fleet.gather import Gather
from brain.fleet.link_keys import LinkKeys
from brain.fleet.logs import LogTerms
from brain.fleet.ports import BeatPart, LeaseWatcher
from brain.fleet.session import Session, read_session
from brain.fleet.telemetry import Telemetry
from brain.plumbing import Ctx, ended
from brain.secrets import Vault
from kernel.clock import NS
from kernel.errors import Conflict, Forbidden, Unauthenticated
from kernel.ids import BootId, LeaseId, NodeId
from kernel.wire.agent import (
    Beat,
    BeatAnswer,
    SessionAnswer,
    SessionRequest,
)

FLUSH_SECONDS = 1.0
WAKE_SECONDS = 0.25
WAIT_SECONDS_MAX = 25.0
WAIT_SPREAD = 0.4  # of it: polls that began together, as after a restart, do not end together
LOAD_NODES_MAX = 500
SESSIONS_KEPT = 20_000

_log = structlog.get_logger()
_AWAY = (SQLAlchemyError, OSError, TimeoutError)


@dataclass(frozen=True)
class FrontTerms:
    """What wiring hands over. ``secret`` is ``session_secret(master key)``."""

    installation_id: str
    secret: bytes
    beat_seconds: int = 10
    log_terms: LogTerms = field(default_factory=LogTerms)


@dataclass
class AgentFront:
    """Verbs of the agents' protocol. Call ``start`` before and ``stop`` after serving."""

    ctx: Ctx
    terms: FrontTerms
    telemetry: Telemetry
    watcher: LeaseWatcher
    vault: Vault
    parts: Sequence[BeatPart] = ()
    boot_id: BootId = field(init=False)
    _link_keys: LinkKeys = field(init=False)
    desks: dict[NodeId, Desk] = field(default_factory=dict)
    _batch: Batch = field(default_factory=Batch)
    _unshown: dict[NodeId, tuple[int, bytes]] = field(default_factory=dict)  # readings
    _written_ns: int | None = None
    _cursor: int = 0
    _sessions: dict[str, Session] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _loads: Gather[NodeId] = field(init=False)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.boot_id = self.ctx.ids.new(BootId)
        self._loads = Gather(self._load, at_most=LOAD_NODES_MAX)
        self._link_keys = LinkKeys(self.terms.secret)

    async def start(self) -> None:
        """Begin to receive: from now on silence counts."""
        for part in self.parts:
            await part.start()
        self._tasks = [
            asyncio.create_task(self._every(FLUSH_SECONDS, "flush", self._write)),
            asyncio.create_task(self._every(FLUSH_SECONDS, "show", self._show)),
            asyncio.create_task(self._every(WAKE_SECONDS, "look", self.look)),
        ]

    def send_home(self) -> None:
        """Nobody waits here any more: this process is about to stop."""
        self._stopping.set()
        for own in self.desks.values():
            own.changed.set()

    async def stop(self) -> None:
        """Write what has gathered and end."""
        self.send_home()
        await ended(*self._tasks)
        self._tasks = []
        with suppress(*_AWAY):
            await self.flush()
        for part in self.parts:
            await part.stop()

    async def open_session(self, request: SessionRequest) -> SessionAnswer:
        """See ``sessions.open_session``."""
        session = await sessions.open_session(self.ctx, self.watcher, self.terms.secret, request)
        await self._loads.load(session.node_id)
        return SessionAnswer(
            session_id=session.session_id,
            session_key=session.key.hex(),
            expires_in_seconds=(session.expires_ns - self.ctx.clock.now_ns()) // NS,
            installation_id=self.terms.installation_id,
        )

    def session(self, session_id: str) -> Session:
        """The session of an id; kept, because each beat asks. Its key is still to be proved."""
        known = self._sessions.get(session_id)
        if known is None:
            known = read_session(self.terms.secret, session_id)
        return known

    async def admit(self, session: Session, number: int) -> Desk:
        """The caller's desk, if this call may be made: session open, node known, number new."""
        if self.ctx.clock.now_ns() >= session.expires_ns:
            raise Unauthenticated(
                "This session has expired; open one with POST /agent/v1/session.",
                code="session_expired",
            )
        found = self.desks.get(session.node_id)
        if found is None:
            await self._loads.load(session.node_id)
            found = self.desks.get(session.node_id)
        if found is None or found.agent_start_id != session.agent_start_id:
            raise Conflict(
                "Another agent took over this node. Stop one of them.", code="superseded"
            )
        if found.revoked:
            raise Forbidden("This node was revoked by its provider.", code="node_revoked")
        if not found.numbers.take(number):
            raise Conflict("This call was made before (sequence number).", code="replayed")
        if session.session_id not in self._sessions:
            if len(self._sessions) >= SESSIONS_KEPT:
                self._sessions.clear()
            self._sessions[session.session_id] = session
        return found

    async def beat(self, session: Session, number: int, beat: Beat, body: bytes) -> BeatAnswer:
        """Take in what the agent sees; answer what it should do and what is renewed."""
        if beat.node_id != session.node_id or beat.host_boot_id != session.host_boot_id:
            raise Forbidden(
                "The beat names another node or boot than its session.", code="node_mismatch"
            )
        own = await self.admit(session, number)
        if number <= own.beat_number:
            raise Conflict("A newer beat was here before this one.", code="replayed")
        own.beat_number = number
        heard_ns, now_ns = own.last_seen_ns, self.ctx.clock.now_ns()
        own.last_seen_ns = now_ns
        if beat.generation < own.generation:
            # What a lease that ended since the last look was for is not handed out any more.
            await self._loads.load(own.node_id)
            own = self.desks[own.node_id]
        for key in own.leases:
            own.evident_ns.setdefault(key, heard_ns or now_ns)
        found = core.sort_leases(
            own.leases,
            beat.leases,
            generation_applied=beat.generation,
            now_ns=now_ns,
            evident_ns=own.evident_ns,
        )
        own.evident_ns.update(dict.fromkeys(found.evidence, now_ns))
        if found.changed or found.missing or own.missing_since_ns:
            own = await self._follow(own, found, now_ns)
        inventory = Inventory.of(
            beat.gpus,
            engine=beat.host.engine,
            nvml=beat.nvml.value,
            agent_version=beat.agent_version,
        )
        if inventory != own.inventory:
            own = await self._save_inventory(own, inventory)
        if own.awaits:
            own = await self._take_up(own)
        can_write = self._can_write()
        renewed = [key for key in found.renewed if key in own.leases] if can_write else []
        late = [key for key in renewed if own.is_late(key, now_ns)]
        if late:
            own = await self._renew_now(own, late, now_ns)
            renewed = [key for key in renewed if key in own.leases]
        own.renewed_ns = dict.fromkeys(renewed, now_ns)
        self._batch.add(own.node_id, own.agent_start_id, number, now_ns, beat.generation)
        self._batch.renewed.update(dict.fromkeys(renewed, now_ns))
        self._batch.evidence.update(dict.fromkeys(found.evidence, now_ns))
        self._batch.states[own.node_id] = (now_ns, body)
        answer = BeatAnswer(
            generation=own.generation,
            # The time of a lease begins with the set that brings it, so that is a renewal too.
            desired=own.desired if can_write and beat.generation < own.generation else None,
            renewed=renewed,
            beat_seconds=self.terms.beat_seconds,
        )
        for part in self.parts:
            part.beat(own.node_id, beat, answer, now_ns)
        return answer

    async def wait(self, own: Desk, generation: int) -> None:
        """Return when the node's generation is above ``generation``, at the stop, or after a
        while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_wait_seconds(own.node_id)):
                while (now := self.desks.get(own.node_id, own)).generation <= generation:
                    if self._stopping.is_set():
                        return
                    await now.changed.wait()

    async def flush(self) -> None:
        """Write all that has gathered."""
        await self._write()
        await self._show()

    async def _write(self) -> None:
        """Beats, renewals and reception in one transaction, then evidence. What could not be
        written is kept for the next time."""
        gathered, self._batch = self._batch, Batch()
        try:
            await batch.write_beats(self.ctx, self.boot_id, gathered)
            self._written_ns = self.ctx.clock.monotonic_ns()
            await batch.write_evidence(self.ctx, gathered.evidence)
        except _AWAY:
            self._batch.keep(gathered)
            raise
        self._unshown.update(gathered.states)

    async def _show(self) -> None:
        """Telemetry, which people look at: what rules look at does not wait for it."""
        states, self._unshown = self._unshown, {}
        await self.telemetry.keep(states, beat_seconds=self.terms.beat_seconds)

    async def look(self) -> None:
        """Load the desks of nodes that anyone changed, and wake who waits for them."""
        async with self.ctx.db.glance() as tx:
            changed = await desk.changed_since(tx, self._cursor)
        stale = [
            node_id
            for node_id, xid in changed.xids.items()
            if node_id in self.desks and self.desks[node_id].xid != xid
        ]
        for first in range(0, len(stale), LOAD_NODES_MAX):
            await self._load(stale[first : first + LOAD_NODES_MAX])
        self._cursor = changed.cursor

    async def _load(self, node_ids: list[NodeId]) -> None:
        async with self.ctx.db.begin() as tx:
            loaded = await desk.load(tx, node_ids, self._link_keys)
        for node_id, fresh in loaded.items():
            before = self.desks.get(node_id)
            if before is not None:
                if fresh.xid < before.xid:
                    continue  # loaded before what is here already
                fresh.take_over(before)
            self.desks[node_id] = fresh
            if before is not None:
                before.changed.set()

    async def _follow(self, own: Desk, found: core.BeatLeases, now_ns: int) -> Desk:
        """Save what the agent reports; end what it does not report any more."""
        since = {key: own.missing_since_ns.get(key, now_ns) for key in found.missing}
        own.missing_since_ns = since
        for seen in found.changed:
            await leases.see(self.ctx, self.watcher, own.node_id, seen, now_ns=now_ns)
        gone = [key for key, ns in since.items() if now_ns - ns >= core.MISSING_NS]
        for key in gone:
            await leases.give_up(
                self.ctx, self.watcher, LeaseId(key), "its node does not report it any more"
            )
        if not found.changed and not gone:
            return own
        await self._loads.load(own.node_id)
        return self.desks[own.node_id]

    async def _save_inventory(self, own: Desk, inventory: Inventory) -> Desk:
        await batch.write_inventory(self.ctx, own.node_id, inventory)
        await self._loads.load(own.node_id)
        return self.desks[own.node_id]

    async def _renew_now(self, own: Desk, late: list[str], now_ns: int) -> Desk:
        """Leases that anyone may close for want of a renewal are renewed before that is promised;
        those that were closed meanwhile are on the desk no more."""
        await batch.renew(self.ctx, dict.fromkeys(late, now_ns))
        await self._loads.load(own.node_id)
        return self.desks[own.node_id]

    async def _take_up(self, own: Desk) -> Desk:
        if not await rented.take_up(self.ctx, self.watcher, own.node_id):
            return own
        await self._loads.load(own.node_id)
        return self.desks[own.node_id]

    def _can_write(self) -> bool:
        """A renewal that could not be written down soon is not promised."""
        if self._written_ns is None:
            return False
        return self.ctx.clock.monotonic_ns() - self._written_ns < core.GAP_NS

    async def _every(self, seconds: float, name: str, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except _AWAY as error:
                _log.warning("fleet_step_failed", step=name, failure=str(error)[:200])
            await self.ctx.clock.sleep(seconds)


def _wait_seconds(node_id: NodeId) -> float:
    """How long this node's polls last. The tail of a node's id is chance."""
    return WAIT_SECONDS_MAX * (1 - WAIT_SPREAD * (node_id.uuid.int & 0xFFFF) / 0xFFFF)
