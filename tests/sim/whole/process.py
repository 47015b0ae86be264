"""A process of the brain as the world sees it: it has memory, takes turns, and may die.

Death is what ``kill -9`` does: every coroutine of it ends where it stands, what was not committed
is gone, what the outside was told stays told. A new process starts with nothing in memory.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random

from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from brain.plumbing import Ctx, Db, Killed, Tx
from brain.plumbing.db import async_url
from kernel.clock import ManualClock
from kernel.errors import GanglionError
from kernel.ids import SeededIds
from tests.sim.whole.faults import Faults
from tests.sim.whole.look import CONNECTION
from tests.sim.whole.trace import Trace
from tests.sim.whole.turns import Turns

INSTALLATION = "simulated"
STATEMENTS_MAX = 2000  # that a connection keeps ready: a world says some hundreds
NOTHING = "nothing"
FLUSH = "flush"  # the brain writes down what it heard
_DOING: ContextVar[str] = ContextVar("doing", default=NOTHING)


@dataclass
class Ground:
    """What all processes of one world stand on."""

    db: Db
    clock: ManualClock
    ids: SeededIds
    turns: Turns
    faults: Faults
    trace: Trace
    chance: Random
    reached: dict[str, int] = field(default_factory=dict)
    doom: Callable[[str], bool] = lambda name: False  # is it now that a process dies?
    flushed_ns: list[int] = field(default_factory=list)  # when the brain wrote what it heard
    told_ns: dict[str, int] = field(default_factory=dict)  # when a lease was told alive, or gone


class Process:
    """``ctx`` is what its code is handed. A dead one never runs again."""

    def __init__(self, ground: Ground, name: str) -> None:
        self.ground = ground
        self.name = name
        self.dead = False
        self.paused_until_ns = 0
        self.running: dict[str, asyncio.Task[None]] = {}
        db = SimDb(ground.db, self)
        self.ctx = Ctx(db=db, clock=ground.clock, ids=ground.ids, points=Marks(self))

    @property
    def paused(self) -> bool:
        """It gets no processor for a while: swapped out, suspended, or very slow."""
        return not self.dead and self.ground.clock.monotonic_ns() < self.paused_until_ns

    def begin(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """Start a piece of work, unless the same is still running here."""
        if not self.dead and name not in self.running:
            self.running[name] = asyncio.create_task(self._run(name, work), name=name)

    async def _run(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        _DOING.set(name)
        try:
            await work()
        except Killed:
            self.die(f"in {name}")
        except asyncio.CancelledError:
            pass
        except GanglionError as error:
            self.note(f"{name}: {type(error).__name__} {error.detail[:100]}")
        except (OSError, TimeoutError) as error:  # the next tick tries again, as the Ticker does
            if not self.ground.faults.stalled(self.ground.clock.monotonic_ns()):
                self.note(f"{name}: {error}")
        except Exception as error:
            self.note(f"{name} failed: {type(error).__name__} {str(error)[:100]!r}")
            self.ground.faults.tell(error)
        finally:
            self.running.pop(name, None)

    def may_die(self, where: str, mark: str) -> None:
        """By chance at such a place, or because it was decided for this very mark."""
        if self.doing == NOTHING:
            return  # the world itself looks at its books
        self.ground.reached[mark] = self.ground.reached.get(mark, 0) + 1
        chance = self.ground.faults.strikes(f"death_{where.replace(' ', '_')}")
        if chance or self.ground.doom(mark):
            self.die(mark)
            raise Killed(mark)

    @property
    def doing(self) -> str:
        """The piece of work that the running coroutine belongs to."""
        return _DOING.get().partition(" of ")[0]

    def check(self) -> None:
        if self.dead:
            raise Killed(self.name)

    def die(self, where: str) -> None:
        """Everything of it ends. May be called from inside or outside."""
        if self.dead:
            return
        self.dead = True
        self.note(f"dies {where}")
        for task in self.running.values():
            if task is not asyncio.current_task():
                task.cancel()

    def note(self, what: str) -> None:
        self.ground.trace.add(self.name, what)


class Marks:
    """The marks in the code: others may get ahead here, and the process may die."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def reach(self, name: str) -> None:
        own, ground = self._process, self._process.ground
        own.check()
        ground.reached[name] = ground.reached.get(name, 0) + 1
        if ground.doom(name) or ground.faults.strikes("death_at_mark"):
            own.die(f"at {name}")
            raise Killed(name)
        if not ground.turns.mine:
            await ground.turns.take(own)
            ground.turns.give()
            own.check()


class PlainDb(Db):
    """The product's way to the database, without asking each time whether it is still there:
    it is, and it is asked often."""

    def __init__(self, url: str) -> None:
        super().__init__(url, pool_size=1)
        self.engine = create_async_engine(
            async_url(url),
            pool_size=1,
            max_overflow=1,
            pool_pre_ping=False,
            connect_args={
                "prepared_statement_cache_size": STATEMENTS_MAX,
                "server_settings": {"application_name": "sim", "timezone": "UTC", **CONNECTION},
            },
        )
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)


class SimDb(Db):
    """The real database, one transaction at a time, with its bad moments."""

    def __init__(self, db: Db, process: Process) -> None:
        self.engine = db.engine
        self._real = db
        self._process = process

    def glance(self) -> AbstractAsyncContextManager[Tx]:
        return self.begin()

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Tx]:
        own, ground = self._process, self._process.ground
        own.check()
        asked_ns = ground.clock.now_ns()
        if ground.turns.mine:
            async with self._real.begin() as tx:
                yield tx
            return
        await ground.turns.take(own)
        try:
            own.check()
            if ground.faults.stalled(ground.clock.monotonic_ns()):
                raise TimeoutError("the database does not answer")
            if ground.faults.strikes("database_cut_before"):
                raise ConnectionResetError("the database cut the connection")
            async with self._real.begin() as tx:
                yield tx
                self._may_die("before a commit")
            if own.doing == FLUSH:
                insort(ground.flushed_ns, asked_ns)  # what was heard until it asked is written
            self._may_die("after a commit")
            if ground.faults.strikes("database_cut_after"):
                raise ConnectionResetError("the database cut the connection after the commit")
        finally:
            ground.turns.give()

    def _may_die(self, where: str) -> None:
        self._process.may_die(where, f"{where} of {self._process.doing}")
