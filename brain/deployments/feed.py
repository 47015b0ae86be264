"""What gateways, and fronts of pods, are told: one shared copy a process, and who listens to it.

One loop reads the marks (woken by LISTEN, and twice a second in any case), loads what they name
and hands each difference to every subscriber. A subscriber joins between two rounds, so its
snapshot and its differences meet without a gap. Every 30 s the whole is read again and told by
its digest; what the marks missed is found then, and logged as the fault that it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg
import structlog

from brain.plumbing import DRIVER_ERRORS, Ctx, Tx
from brain.plumbing.changes import CHANNEL, marks_since
from kernel.clock import NS
from kernel.errors import Unavailable
from kernel.wire.digest import snapshot_digest
from kernel.wire.gateway import ChangeLine, Snapshot

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.5
BEAT_SECONDS = 5
DIGEST_SECONDS = 30
QUEUE_MAX = 2000  # lines that a slow gateway may lag behind before it is let go
LOADS_MAX = 200  # more marks than this at once: read the whole instead
LISTEN_AGAIN_SECONDS = 1.0
READ_SECONDS_MAX = 5.0  # then the database counts as away
TOLD_SECONDS_MAX = 2.0

FOR_GATEWAYS = frozenset({"key", "account", "deployment", "replica"})
FOR_FRONTS = frozenset({"pod"})
ENTITIES = ("key", "account", "deployment", "replica", "pod")


class Source(Protocol):
    """Where the rows of one entity come from; wiring hands in the rooms' own."""

    async def one(self, tx: Tx, entity_id: str) -> Any | None: ...

    async def all(self, tx: Tx) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Functions:
    """A ``Source`` from two functions."""

    load_one: Any
    load_all: Any

    async def one(self, tx: Tx, entity_id: str) -> Any | None:
        return await self.load_one(tx, entity_id)

    async def all(self, tx: Tx) -> Sequence[Any]:
        found: Sequence[Any] = await self.load_all(tx)
        return found


class Subscriber:
    """One stream of ``wants``: entities. ``lines`` ends with None when it was let go."""

    def __init__(self, wants: frozenset[str] = FOR_GATEWAYS) -> None:
        self.wants = wants
        self.lines: asyncio.Queue[ChangeLine | None] = asyncio.Queue(QUEUE_MAX)
        self.gone = False

    def put(self, line: ChangeLine) -> None:
        if self.gone:
            return
        try:
            self.lines.put_nowait(line)
        except asyncio.QueueFull:
            self.let_go()

    def let_go(self) -> None:
        """End the stream: what is queued is dropped, and the gateway asks anew."""
        self.gone = True
        while not self.lines.empty():
            self.lines.get_nowait()
        self.lines.put_nowait(None)


class Feed:
    """Start it in the application's life span; it reads nothing while nobody listens."""

    def __init__(self, ctx: Ctx, sources: Mapping[str, Source]) -> None:
        assert set(sources) == set(ENTITIES), "a source for each entity"
        self._ctx = ctx
        self._sources = sources
        self._rows: dict[str, dict[str, Any]] = {entity: {} for entity in ENTITIES}
        self._subscribers: set[Subscriber] = set()
        self._cursor: int | None = None
        self._woken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = asyncio.Lock()
        self._closed = False
        self._blind = False  # the last reading failed: what is told may be old
        self._read_once = asyncio.Event()  # of the next reading

    async def start(self) -> None:
        """Begin to listen and to read. Returns at once; may be repeated."""
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._listen(), name="changes-listen"),
                asyncio.create_task(self._follow(), name="changes-follow"),
            ]

    async def close(self) -> None:
        """Let every gateway go, take no new one, and stop reading."""
        self._closed = True
        for subscriber in list(self._subscribers):
            subscriber.let_go()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def check_open(self) -> None:
        """``Unavailable`` once the feed was closed."""
        if self._closed:
            raise Unavailable("This process is stopping; connect again.", retry_after=1)

    @contextlib.asynccontextmanager
    async def subscribe(self, wants: frozenset[str] = FOR_GATEWAYS) -> AsyncIterator[Subscriber]:
        """A stream that begins with the whole snapshot of ``wants``, no older than this call.

        ``Unavailable`` once the feed was closed: another brain process, or a later one, has it.
        """
        self.check_open()
        await self.start()
        subscriber = Subscriber(wants)
        try:
            async with self._turn:
                await self._read()
                subscriber.put(ChangeLine(snapshot=self.snapshot(wants)))
                self._subscribers.add(subscriber)
            yield subscriber
        finally:
            self._subscribers.discard(subscriber)

    async def told(self, entity: str, entity_id: str) -> None:
        """Returns when everybody who listens here was told of a row that is committed already; in
        any case after ``TOLD_SECONDS_MAX``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TOLD_SECONDS_MAX):
                while self._subscribers and entity_id not in self._rows[entity]:
                    await self._read_once.wait()

    def snapshot(self, wants: frozenset[str] = FOR_GATEWAYS) -> Snapshot:
        """What is known of these entities."""
        rows = {entity: list(self._rows[entity].values()) for entity in wants}
        return Snapshot(
            keys=rows.get("key", []),
            accounts=rows.get("account", []),
            deployments=rows.get("deployment", []),
            replicas=rows.get("replica", []),
            pods=rows.get("pod", []),
        )

    async def _follow(self) -> None:
        clock = self._ctx.clock
        beat_ns = digest_ns = clock.monotonic_ns()
        while True:
            with contextlib.suppress(TimeoutError):
                # Not wait_for: on Python 3.11 it can swallow the cancellation at the close.
                async with asyncio.timeout(POLL_SECONDS):
                    await self._woken.wait()
            self._woken.clear()
            if not self._subscribers:
                self._cursor = None  # the copy may age; the next subscriber reads the whole
                continue
            now_ns, was_blind = clock.monotonic_ns(), self._blind
            try:
                whole = now_ns - digest_ns >= DIGEST_SECONDS * NS
                async with asyncio.timeout(READ_SECONDS_MAX), self._turn:
                    await (self._tell_digest() if whole else self._read())
                digest_ns = now_ns if whole else digest_ns
                self._blind = False
            except Exception as failure:  # the next round tries again; the copy stays right
                log.warning("changes_unread", failure=type(failure).__name__, exc_info=failure)
                self._blind = True
            if self._blind != was_blind or now_ns - beat_ns >= BEAT_SECONDS * NS:
                beat_ns = now_ns
                self._tell(ChangeLine(blind=True) if self._blind else ChangeLine(beat=True))

    async def _read(self) -> None:
        """Bring the copy up to date and tell the differences."""
        async with self._ctx.db.begin() as tx:
            marks = await marks_since(tx, self._cursor or 0)
            changed = [pair for pair in marks.changed if pair[0] in self._rows]
            if self._cursor is None or len(changed) > LOADS_MAX:
                await self._read_whole(tx)
            else:
                for entity, entity_id in changed:
                    row = await self._sources[entity].one(tx, entity_id)
                    self._put(entity, entity_id, row)
                    if entity == "key" and row is not None:  # an account comes with its first key
                        account = await self._sources["account"].one(tx, row.account_id)
                        self._put("account", row.account_id, account)
        self._cursor = marks.cursor
        self._read_once.set()
        self._read_once = asyncio.Event()

    async def _read_whole(self, tx: Tx) -> int:
        """Compare everything; returns how many rows differed."""
        differed = 0
        for entity in ENTITIES:
            found = await self._sources[entity].all(tx)
            fresh = {getattr(row, f"{entity}_id"): row for row in found}
            for gone in [key for key in self._rows[entity] if key not in fresh]:
                differed += self._put(entity, gone, None)
            for key, row in fresh.items():
                differed += self._put(entity, key, row)
        return differed

    async def _tell_digest(self) -> None:
        await self._read()
        async with self._ctx.db.begin() as tx:
            missed = await self._read_whole(tx)
            marks = await marks_since(tx, self._cursor or 0)
        if missed and not marks.changed:
            log.error("changes_unmarked", rows=missed)
        for wants in {subscriber.wants for subscriber in self._subscribers}:
            line = ChangeLine(digest=snapshot_digest(self.snapshot(wants)))
            for subscriber in [one for one in self._subscribers if one.wants == wants]:
                subscriber.put(line)

    def _put(self, entity: str, entity_id: str, row: Any | None) -> bool:
        """Keep one row and tell it, if it differs from what is kept."""
        kept = self._rows[entity]
        if kept.get(entity_id) == row:
            return False
        if row is None:
            del kept[entity_id]
            self._tell(_dropped(entity, entity_id), entity)
        else:
            kept[entity_id] = row
            self._tell(_changed(entity, row), entity)
        return True

    def _tell(self, line: ChangeLine, entity: str | None = None) -> None:
        """To those who want this entity; None: to all."""
        for subscriber in list(self._subscribers):
            if entity is None or entity in subscriber.wants:
                subscriber.put(line)

    async def _listen(self) -> None:
        """Wake the reader by PostgreSQL's NOTIFY; without it the poll alone carries on."""
        lost = asyncio.Event()
        url = self._ctx.db.engine.url.set(drivername="postgresql")
        dsn = url.render_as_string(hide_password=False)
        while True:
            try:
                connection = await asyncpg.connect(dsn, timeout=10)
                try:
                    lost.clear()
                    connection.add_termination_listener(lambda _: lost.set())
                    await connection.add_listener(CHANNEL, self._notified)
                    self._woken.set()
                    await lost.wait()
                finally:
                    await connection.close(timeout=1)
            except (TimeoutError, *DRIVER_ERRORS) as failure:
                log.warning("changes_not_listening", failure=type(failure).__name__)
                await self._ctx.clock.sleep(LISTEN_AGAIN_SECONDS)

    def _notified(self, *_: object) -> None:
        self._woken.set()


def _changed(entity: str, row: Any) -> ChangeLine:
    line = ChangeLine()
    setattr(line, entity, row)
    return line


def _dropped(entity: str, entity_id: str) -> ChangeLine:
    line = ChangeLine()
    setattr(line, f"drop_{entity}", entity_id)
    return line
