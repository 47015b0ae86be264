"""A small world by seed: gateways that crash and come back, a brain that is away at times.

Time is in nanoseconds of the brain and stands on a step grid; the gateways follow the shipper's
rules (backlog before watermarks, remains of a dead boot before its ``closed_boots``), the brain
follows ``core.coverage`` and ``core.window``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from brain.billing.core.coverage import Boot, Receiving, closable_until
from brain.billing.core.window import Piece
from tests.unit.brain.billing.scenes import ACCOUNTS, Books

STEP = 10
CUT = 40  # an open request is cut at least so often
GAP = 3 * STEP  # a longer silence of the receiving beat is an absence


@dataclass
class Resident:
    request: str
    account: object
    weight: int
    ends_ns: int
    piece_from_ns: int
    number: int = 0


@dataclass
class SimGateway:
    """One gateway: at most one living boot, and what a dead one left behind."""

    name: str
    boots: int = 0
    alive: bool = False
    residents: list[Resident] = field(default_factory=list)
    spool: list[Piece] = field(default_factory=list)
    remains: list[tuple[str, list[Piece]]] = field(default_factory=list)

    @property
    def boot(self) -> str:
        return f"{self.name}/{self.boots}"


@dataclass
class World:
    chance: Random
    books: Books
    wait_ns: int
    crash: float = 0.0
    away: float = 0.0
    down_steps: int = 4
    now: int = 0
    made: list[Piece] = field(default_factory=list)
    gateways: list[SimGateway] = field(default_factory=list)
    boots: dict[str, Boot] = field(default_factory=dict)
    last_ns: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    away_until: int = 0
    down_until: dict[str, int] = field(default_factory=dict)
    requests: int = 0

    def run(self, until_ns: int) -> None:
        """Live until then; then every request ends, all is shipped, every window closes."""
        while self.now < until_ns:
            self.step(quiet=False)
        end = self.now + 4 * self.wait_ns + 500
        while self.now < end:
            self.step(quiet=True)

    def step(self, *, quiet: bool) -> None:
        self.now += STEP
        if not quiet and self.chance.random() < self.away:
            self.away_until = self.now + self.chance.randrange(1, 30) * STEP
        receiving = self.now >= self.away_until
        if receiving:
            self._beat()
        for gateway in self.gateways:
            self._gateway(gateway, receiving=receiving, quiet=quiet)
        if receiving and self.chance.random() < 0.7:
            self.books.settle(self._closable())

    def _beat(self) -> None:
        if self.now - self.last_ns > GAP:
            self.gaps.append((self.last_ns, self.now))
        self.last_ns = self.now

    def _closable(self) -> int:
        receiving = Receiving(self.last_ns, tuple(self.gaps))
        boots = list(self.boots.values())
        return closable_until(boots, receiving, now_ns=self.now, wait_ns=self.wait_ns)

    def _gateway(self, gateway: SimGateway, *, receiving: bool, quiet: bool) -> None:
        if not gateway.alive:
            if self.now >= self.down_until.get(gateway.name, 0) and receiving:
                gateway.boots, gateway.alive = gateway.boots + 1, True
                self.boots[gateway.boot] = Boot(self.now, self.now, self.now)
            return
        if not quiet and self.chance.random() < self.crash:
            self._die(gateway)
            return
        if not quiet and self.chance.random() < 0.3:
            self._admit(gateway)
        self._cut(gateway)
        if receiving and self.chance.random() < 0.8:
            self._ship(gateway)

    def _admit(self, gateway: SimGateway) -> None:
        self.requests += 1
        ends = self.now + self.chance.randrange(1, 12) * STEP
        account = self.chance.choice(ACCOUNTS)
        weight = self.chance.randrange(1, 4)
        gateway.residents.append(Resident(f"r{self.requests}", account, weight, ends, self.now))

    def _cut(self, gateway: SimGateway) -> None:
        for resident in list(gateway.residents):
            if self.now >= resident.ends_ns:
                self._write(gateway, resident, self.now, final=True)
                gateway.residents.remove(resident)
            elif self.now - resident.piece_from_ns >= CUT:
                self._write(gateway, resident, self.now, final=False)

    def _write(self, gateway: SimGateway, one: Resident, end_ns: int, *, final: bool) -> None:
        piece = Piece(
            key=f"{one.request}-{one.number}",
            account=one.account,
            request=one.request,
            attempt=0,
            start_ns=one.piece_from_ns,
            end_ns=end_ns,
            open_ns=one.piece_from_ns,
            weight=one.weight,
            final=final,
            alive=False,
            failed=False,
        )
        one.number, one.piece_from_ns = one.number + 1, end_ns
        gateway.spool.append(piece)
        self.made.append(piece)

    def _die(self, gateway: SimGateway) -> None:
        """What was written survives; open requests end at the last thing written: now."""
        for resident in gateway.residents:
            self._write(gateway, resident, self.now, final=True)
        gateway.remains.append((gateway.boot, gateway.spool))
        gateway.residents, gateway.spool, gateway.alive = [], [], False
        down = self.chance.randrange(1, self.down_steps) * STEP
        self.down_until[gateway.name] = self.now + down

    def _ship(self, gateway: SimGateway) -> None:
        seen = self.boots[gateway.boot]
        if gateway.remains:
            dead, left = gateway.remains.pop(0)
            self._told(left)
            old = self.boots[dead]
            self.boots[dead] = Boot(old.hello_ns, old.seen_ns, old.stated_ns, closed=True)
            self.boots[gateway.boot] = Boot(
                seen.hello_ns, self.now, seen.stated_ns, seen.until_ns, seen.listed_ns
            )
            return
        open_from = min((r.piece_from_ns for r in gateway.residents), default=self.now)
        part = len(gateway.spool) if self.chance.random() < 0.8 else len(gateway.spool) // 2
        sent, gateway.spool = gateway.spool[:part], gateway.spool[part:]
        self._told(sent)
        if gateway.spool:  # the backlog goes first, without a watermark
            self.boots[gateway.boot] = Boot(
                seen.hello_ns, self.now, seen.stated_ns, seen.until_ns, seen.listed_ns
            )
        else:
            self.boots[gateway.boot] = Boot(seen.hello_ns, self.now, self.now, open_from, self.now)

    def _told(self, sent: list[Piece]) -> None:
        again = [p for p in sent if self.chance.random() < 0.3]
        mixed = [*sent, *again]
        self.chance.shuffle(mixed)
        self.books.report(*mixed)
