"""This process's part of one limit. Pure integers.

A request spends from ``left``. It is made of what the brain dealt and of an ``allowance``: units
that may be spent ahead of a lease, which the next ask reports as ``owed`` and the brain counts in
full, whatever the limit says. With N processes no more than the limit and N allowances is ever
through: a process that owed hears how long the limit is overdrawn, and spends nothing until then.

Without a brain the allowance grows instead by this process's share of the rate, up to a minute of
it. What was spent so is owed, too: the brain counts at most one minute's limit of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernel.clock import NS
from kernel.wire.limits import LimitAsk, LimitGrant, LimitKind

MINUTE_NS = 60 * NS
ALLOWANCE_PART = 20  # of a limit may be spent ahead of a lease: a twentieth, at least one
IDLE_NS = 2 * MINUTE_NS  # forgotten then
RENEW_NS = 2 * NS  # how often held slots are confirmed; the brain forgets them after 10 s
MS_NS = 1_000_000


@dataclass(slots=True, eq=False)
class Meter:
    """Units a minute. ``told`` + ``left`` is what everybody together may still spend."""

    subject: str
    limit: int
    allowance: int = 0
    allowance_most: int = 0
    left: int = 0
    told: int = 0
    asking: bool = False
    dry_until_ns: int = 0
    used_ns: int = 0  # when it was last seen to be used
    _mark: int = 0  # ``left`` at the last look, with what was added since
    _busy: int = 0  # spent between the last two looks
    _rest: int = 0  # of a unit, while alone

    @classmethod
    def fresh(cls, subject: str, limit: int, now_ns: int, *, allowance: int, alone: bool) -> Meter:
        made = cls(subject, limit, used_ns=now_ns)
        made.allowance_most = allowance
        made.allowance = made.left = made._mark = limit if alone else allowance
        made.told = limit - made.left
        return made

    def change(self, limit: int, allowance: int) -> None:
        """The limit is another one now; what was dealt under the old one stays."""
        self.told += limit - self.limit
        self.limit, self.allowance_most = limit, allowance
        self._add(min(limit - self.left, 0))

    @property
    def remaining(self) -> int:
        found = self.told + self.left
        if found < 0:
            return 0
        return found if found < self.limit else self.limit

    def refused_for_ns(self, need: int, now_ns: int) -> int | None:
        """How long there is certainly nothing; ``None`` while the brain may still deal some."""
        if self.left >= need or self.dry_until_ns <= now_ns:
            return None
        more = need - max(self.left, 0) - 1  # the end of the drought brings one unit
        return self.dry_until_ns - now_ns + more * MINUTE_NS // self.limit

    def wait_ns(self, need: int, processes: int) -> int:
        """Without a brain: until this process's share has grown so far."""
        return max(need - self.left, 0) * MINUTE_NS * processes // self.limit

    def look(self, now_ns: int) -> None:
        """Once a beat: how busy is it?"""
        self._busy = max(self._mark - self.left, 0)
        self._mark = self.left
        if self._busy:
            self.used_ns = now_ns
        if self.dry_until_ns and self.dry_until_ns <= now_ns:
            self.dry_until_ns = 0
            self._allow()

    def ask(self, needed: int, now_ns: int) -> LimitAsk | None:
        """Enough for two more beats like the last one and for those who wait."""
        leased = self.left - self.allowance
        ahead = min(2 * self._busy, max(self.limit // 4, 1))
        if not needed and not self._busy and leased <= 0 and self.left >= self.allowance_most:
            return None
        want = max(needed + ahead - max(leased, 0), 0)
        if self.dry_until_ns > now_ns and leased >= 0:
            want = 0
        back = leased - ahead if leased > 2 * ahead and not needed else 0
        if not (want or back or leased < 0):
            return None
        self._add(-back)
        self.told += back
        return LimitAsk(self.subject, self.limit, want=want, owed=max(-leased, 0), back=back)

    def answered(self, asked: LimitAsk, grant: LimitGrant, now_ns: int) -> None:
        """What the brain said to the question."""
        self._add(asked.owed + grant.granted)
        if grant.wait_ms > 0:
            self.dry_until_ns = now_ns + grant.wait_ms * MS_NS
            self._forbid()
        else:
            self.dry_until_ns = 0
            self._allow()
        self.told = grant.left - self.allowance

    def alone(self, passed_ns: int, processes: int) -> None:
        """So much time went by without a brain that deals."""
        grown = self.limit * passed_ns + self._rest
        units, self._rest = divmod(grown, MINUTE_NS * processes)
        room = max(max(self.limit // processes, 1) - self.left, 0)
        if units >= room:
            units, self._rest = room, 0
        self.allowance += units
        self.dry_until_ns = 0
        self._add(units)
        self.told = 0

    def rejoin(self) -> None:
        """The brain deals again."""
        if self.allowance > self.allowance_most:
            self._allow()

    def farewell(self) -> LimitAsk | None:
        """The process ends: what is left goes back, what is owed is told."""
        leased = self.left - self.allowance
        if leased == 0:
            return None
        return LimitAsk(self.subject, self.limit, owed=max(-leased, 0), back=max(leased, 0))

    def idle(self, now_ns: int) -> bool:
        """A debt is not forgotten."""
        silent = now_ns - max(self.used_ns, self.dry_until_ns) > IDLE_NS
        return silent and not self.asking and self.left >= 0

    def _allow(self) -> None:
        """Units may be spent ahead of a lease again."""
        more = self.allowance_most - self.allowance
        self.allowance += more
        self.told -= more
        self._add(more)

    def _forbid(self) -> None:
        self.told += self.allowance
        self._add(-self.allowance)
        self.allowance = 0

    def _add(self, units: int) -> None:
        self.left += units
        self._mark += units


@dataclass(slots=True, eq=False)
class Slots:
    """Requests at once: ``used`` of ``held``. Nothing is taken ahead of a lease.

    When the brain is away, each process takes its share of the limit, at least one.
    """

    subject: str
    limit: int
    used: int = 0
    held: int = 0
    asking: bool = False
    used_ns: int = 0
    peak: int = 0  # the most at once since the last look
    full_until_ns: int = 0
    _confirmed_ns: int = 0
    _wanted: int = 0

    def refused_for_ns(self, need: int, now_ns: int) -> int | None:
        if self.used >= self.limit:
            return NS
        return NS if self.full_until_ns > now_ns else None

    def look(self, now_ns: int) -> None:
        if self.used or self.peak:
            self.used_ns = now_ns
        self._wanted = max(self.peak, self.used)
        self.peak = self.used

    def ask(self, needed: int, now_ns: int) -> LimitAsk | None:
        """Hold what was used at most of late and what waits; give the rest to others at once."""
        want = min(max(self._wanted, self.used) + needed, self.limit)
        due = self.held > 0 and now_ns - self._confirmed_ns > RENEW_NS
        if want == self.held and not due:
            return None
        self.held = min(self.held, max(want, self.used))
        return LimitAsk(self.subject, self.limit, want=want, owed=self.used, kind=LimitKind.SLOTS)

    def answered(self, asked: LimitAsk, grant: LimitGrant, now_ns: int) -> None:
        self.held, self._confirmed_ns = grant.granted, now_ns
        short = grant.granted < asked.want
        self.full_until_ns = now_ns + NS // 4 if short else 0

    def wait_ns(self, need: int, processes: int) -> int:
        return NS

    def alone(self, passed_ns: int, processes: int) -> None:
        self.held = max(self.limit // processes, 1)
        self.full_until_ns = 0

    def rejoin(self) -> None:
        """What runs is told with the next ask, which is due at once."""
        self.held, self._confirmed_ns = self.used, 0

    def farewell(self) -> LimitAsk | None:
        if not self.held:
            return None
        return LimitAsk(self.subject, self.limit, owed=self.used, kind=LimitKind.SLOTS)

    def idle(self, now_ns: int) -> bool:
        silent = not (self.used or self.held or self.asking)
        return silent and now_ns - self.used_ns > IDLE_NS
