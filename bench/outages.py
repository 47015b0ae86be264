"""What requests see while a store is away; how soon a revoked key is refused; whether money holds.

A whole installation with three gateway processes and two workers. Valkey stands still for 90 s;
PostgreSQL cannot be reached for 60 s (its socket is gone and each connection broken); a key is
revoked; a thousand requests come at once for an account that can pay for a few.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from time import monotonic
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil

from bench.figure import Figure
from bench.truth import settled
from bench.truth_books import begun_in
from bench.truth_mix import chat
from bench.truth_place import Place, opened, place
from bench.truth_wire import Wire, connect
from kernel.money import NANO
from tests.support.wait import until

CLIENTS, GAP_SECONDS = 16, 0.05
VALKEY_SECONDS, POSTGRES_SECONDS = 90.0, 60.0
NOTICED_SECONDS = 1.5
ANSWER_SECONDS_MAX = 30.0
CONNECTIONS = 12  # each stays with one process: so many reach all of them
PARALLEL, CREDITS = 1000, 10
HOLD_NANO = 50_000  # what the key of the poor account may spend on a request, so what is held
UNKNOWN_KEY = "gk_" + "0" * 43
_BREAK_ALL = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
NAMES = (
    *("valkey_paused_failures", "valkey_paused_added_p99_ms"),
    *("valkey_paused_rss_x", "valkey_paused_log_bytes_a_request"),
    *("postgres_away_failures", "postgres_away_401s", "postgres_away_added_p99_ms"),
    *("postgres_away_rss_x", "postgres_away_log_bytes_a_request"),
    *("postgres_away_unknown_key_401s", "revoked_key_refused_ms"),
    *("money_for", "money_reached_a_worker", "outages_lost_doubled_phantom"),
)


@dataclass
class Seen:
    """Answers to requests that came at a steady pace."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def failures(self) -> int:
        return self.statuses.total() - self.statuses[200]

    @property
    def p99_ms(self) -> float:
        ranked = sorted(self.seconds)
        return 1000 * ranked[-(-len(ranked) * 99 // 100) - 1] if ranked else 0.0


class Caller:
    """A kept connection to one gateway process; 0 stands for one that broke."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._wire: Wire | None = None

    async def ask(self, request: bytes) -> int:
        try:
            wire = self._wire = self._wire or await connect(self._port)
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await wire.ask(request)
            return wire.status
        except (OSError, TimeoutError):
            self.close()
            return 0

    def close(self) -> None:
        if self._wire is not None:
            self._wire.abort()
            self._wire = None


async def strangers(here: Place, seconds: float) -> Seen:
    """A key that nobody knows, now and then: more often would be stopped as guessing. It begins a
    moment after the outage: nothing can have been written since."""
    await asyncio.sleep(NOTICED_SECONDS)
    return await steady(here, seconds, key=UNKNOWN_KEY, clients=3, gap_seconds=2.0)


async def steady(
    here: Place,
    seconds: float,
    *,
    key: str = "",
    clients: int = CLIENTS,
    gap_seconds: float = GAP_SECONDS,
) -> Seen:
    """So many clients that ask, wait for the answer, and rest a little."""
    seen, ready = Seen(), here.product.ready
    request = chat(key or ready["api_key"], ready["model"], 1)
    until_s = monotonic() + seconds

    async def one(number: int) -> None:
        caller = Caller(here.ports[number % len(here.ports)])
        while monotonic() < until_s:
            began = monotonic()
            seen.statuses[await caller.ask(request)] += 1
            seen.seconds.append(monotonic() - began)
            await asyncio.sleep(gap_seconds)
        caller.close()

    await asyncio.gather(*(one(number) for number in range(clients)))
    return seen


@dataclass(frozen=True)
class Growth:
    """What an outage does to the gateways: memory after it, as a multiple of that before, of the
    process that grew most; and how much all of them wrote into their logs."""

    rss_x: float
    log_bytes: int


class Grower:
    """Looks at the gateways now; ``grown`` compares."""

    def __init__(self, here: Place) -> None:
        self._here = here
        self._rss, self._log_bytes = self._look()

    def grown(self) -> Growth:
        rss, log_bytes = self._look()
        most = max(rss[pid] / before for pid, before in self._rss.items())
        return Growth(most, log_bytes - self._log_bytes)

    def _look(self) -> tuple[dict[int, int], int]:
        """The memory of each process, and the length of all logs."""
        product, crew = self._here.product, self._here.crew
        own = product.pids()["gateway"]
        assert own is not None
        pids = [own, *(one.pid for one in psutil.Process(crew.process.pid).children())]
        logs = [*(product.home / "logs").glob("gateway.log*"), crew.log]
        rss = {pid: int(psutil.Process(pid).memory_info().rss) for pid in pids}
        return rss, sum(log.stat().st_size for log in logs)


@asynccontextmanager
async def valkey_paused(here: Place) -> AsyncIterator[None]:
    """Valkey stands still, its connections open, for as long as the block lasts."""
    pid = here.product.pids()["valkey"]
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def postgres_away(here: Place) -> AsyncIterator[None]:
    """All connections are broken and no new one can be made, for as long as the block lasts."""
    url = here.database_url()
    folder = Path(parse_qs(urlsplit(url).query)["host"][0])
    socket, hidden = folder / ".s.PGSQL.5432", folder / ".hidden"
    connection = await asyncpg.connect(url)
    socket.rename(hidden)
    try:
        await connection.execute(_BREAK_ALL)
        yield
    finally:
        hidden.rename(socket)
        await connection.close()


async def refused_after(here: Place) -> float:
    """Seconds from the answer to a revocation until no process takes the key any more."""
    with here.demo() as brain:
        made = brain.post("/api/v1/keys", {"name": "short", "scopes": ["inference"]})
    request = chat(made["key"], here.product.ready["model"], 1)
    callers = [Caller(here.ports[n % len(here.ports)]) for n in range(CONNECTIONS)]

    async def is_known() -> bool:
        return {await one.ask(request) for one in callers} == {200}

    await until(is_known, 30)
    with here.demo() as brain:
        brain.delete(f"/api/v1/keys/{made['key_id']}")
    began = monotonic()

    async def refused(one: Caller) -> float:
        await until(partial(is_refused, one), 30, every=0.01)
        one.close()
        return monotonic() - began

    async def is_refused(one: Caller) -> bool:
        return await one.ask(request) == 401

    return max(await asyncio.gather(*(refused(one) for one in callers)))


async def thousand_at_once(here: Place, parallel: int = PARALLEL) -> tuple[int, int, Counter[int]]:
    """For how many requests there was money, how many a worker began, and the answers."""
    key, afforded = await asyncio.to_thread(_poor, here)
    request = chat(key, here.product.ready["model"], 400, stream=True, ignore_eos=True)
    callers = [Caller(here.ports[n % len(here.ports)]) for n in range(parallel)]
    known = [Caller(port) for port in here.ports]

    async def is_known() -> bool:
        return 401 not in [await one.ask(chat(key, "nothing", 1)) for one in known]

    await until(is_known, 30)
    before = begun_in(here.journal).total()
    answers = Counter(await asyncio.gather(*(one.ask(request) for one in callers)))
    for one in (*callers, *known):
        one.close()
    return afforded, begun_in(here.journal).total() - before, answers


def _poor(here: Place) -> tuple[str, int]:
    """The key of a new account, and for how many requests its money is enough."""
    with here.admin() as admin:
        email, password = opened(admin, CREDITS)
    with here.as_user(email, password) as brain:
        free_nano = int(brain.get("/api/v1/billing/balance")["free_nano"])
        limit = {"cost_limit_usd": str(Decimal(HOLD_NANO) / NANO)}
        made = brain.post("/api/v1/keys", {"name": "poor", "scopes": ["inference"], **limit})
        return str(made["key"]), free_nano // HOLD_NANO


async def figures(_database_url: str, _valkey_url: str) -> list[Figure]:
    """Uses an installation's own stores."""
    async with place() as here:
        calm = await steady(here, 20)
        grower = Grower(here)
        async with valkey_paused(here):
            paused = await steady(here, VALKEY_SECONDS)
            paused_grown = grower.grown()
        grower = Grower(here)
        async with postgres_away(here):
            away, unknown = await asyncio.gather(
                steady(here, POSTGRES_SECONDS), strangers(here, POSTGRES_SECONDS)
            )
            away_grown = grower.grown()
        await until(here.serves, 60)
        revoked = await refused_after(here)
        afforded, reached, _ = await thousand_at_once(here)
        left, found = await settled(here)
        wrong = len(found.lost) + len(found.doubled) + len(found.phantom) + left
        return [
            Figure("valkey_paused_failures", paused.failures, "requests"),
            Figure("valkey_paused_added_p99_ms", paused.p99_ms - calm.p99_ms, "ms"),
            *_growth("valkey_paused", paused_grown, paused),
            Figure("postgres_away_failures", away.failures, "requests"),
            Figure("postgres_away_401s", away.statuses[401], "requests"),
            Figure("postgres_away_added_p99_ms", away.p99_ms - calm.p99_ms, "ms"),
            *_growth("postgres_away", away_grown, away),
            Figure("postgres_away_unknown_key_401s", unknown.statuses[401], "requests"),
            Figure("revoked_key_refused_ms", 1000 * revoked, "ms"),
            Figure("money_for", afforded, "requests"),
            Figure("money_reached_a_worker", reached, "requests"),
            Figure("outages_lost_doubled_phantom", wrong, "requests"),
        ]


def _growth(outage: str, grown: Growth, seen: Seen) -> list[Figure]:
    bytes_each = grown.log_bytes / max(seen.statuses.total(), 1)
    return [
        Figure(f"{outage}_rss_x", grown.rss_x, "x"),
        Figure(f"{outage}_log_bytes_a_request", bytes_each, "bytes"),
    ]
