"""Escrow slices: money held at the brain, against which pool requests are admitted in memory.

Pure. A slice is a durable hold of the account's money (LEDGER rule 2); here it is only counted
down, by this gateway's upper bound of each request's cost, so what is held is never too little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kernel.errors import GanglionError, OutOfCredit, Unavailable

REFUSAL_REMEMBERED_NS = 1_000_000_000


@dataclass(slots=True, eq=False)
class Slice:
    slice_id: str
    granted: int
    touched_ns: int
    used: int = 0
    held: int = 0

    @property
    def free(self) -> int:
        return self.granted - self.used - self.held


@dataclass(slots=True, eq=False)
class Hold:
    """One request's part of a slice."""

    slice: Slice
    amount: int


@dataclass(slots=True, eq=False)
class Waiter:
    """A request that waits for money; ``answer`` is called once, with a hold or an error."""

    need: int
    until_ns: int
    answer: Callable[[Hold | GanglionError], None]


@dataclass(slots=True, eq=False)
class Purse:
    """One account's slices at this gateway."""

    slices: list[Slice] = field(default_factory=list)
    waiters: list[Waiter] = field(default_factory=list)
    asking: bool = False
    refused_until_ns: int = 0

    def take(self, need: int, now_ns: int) -> Hold | None:
        """Hold ``need`` against a slice that has it; ``None`` when no slice does."""
        for piece in self.slices:
            if piece.granted - piece.used - piece.held >= need:
                piece.held += need
                piece.touched_ns = now_ns
                return Hold(piece, need)
        return None

    def refused(self, now_ns: int) -> bool:
        """True while a refusal is so fresh that asking again would only be noise."""
        return now_ns < self.refused_until_ns

    def wanted(self, usual: int) -> tuple[int, int]:
        """What to ask the brain for: ``want`` serves all who wait, ``need`` the first."""
        total = sum(waiter.need for waiter in self.waiters)
        return max(usual, total), self.waiters[0].need

    def granted(self, piece: Slice, now_ns: int) -> None:
        """A slice came: serve those who wait, in order, as far as it goes."""
        if piece.granted > 0:
            self.slices.append(piece)
        waiting, self.waiters = self.waiters, []
        for waiter in waiting:
            hold = self.take(waiter.need, now_ns)
            if hold is None:
                self.waiters.append(waiter)
            else:
                waiter.answer(hold)

    def declined(self, now_ns: int) -> None:
        """The brain has no money for the first who waits: it goes without, and so do the rest."""
        self.refused_until_ns = now_ns + REFUSAL_REMEMBERED_NS
        self._fail_all(lambda _: True, out_of_credit)

    def expire(self, now_ns: int) -> None:
        """Those who waited too long hear that the books cannot be reached now."""
        self._fail_all(lambda waiter: waiter.until_ns <= now_ns, books_away)

    def leave(self, waiter: Waiter) -> None:
        if waiter in self.waiters:
            self.waiters.remove(waiter)

    def idle(self, now_ns: int, idle_ns: int) -> list[Slice]:
        """Take out the slices that nobody uses: they go back to the brain."""
        back = [
            piece
            for piece in self.slices
            if piece.held == 0 and (now_ns - piece.touched_ns >= idle_ns or piece.free <= 0)
        ]
        for piece in back:
            self.slices.remove(piece)
        return back

    def _fail_all(
        self, which: Callable[[Waiter], bool], error: Callable[[], GanglionError]
    ) -> None:
        failing = [waiter for waiter in self.waiters if which(waiter)]
        self.waiters = [waiter for waiter in self.waiters if not which(waiter)]
        for waiter in failing:
            waiter.answer(error())


def raise_to(hold: Hold, amount: int) -> bool:
    """Make a hold larger; false (and unchanged) when its slice has not that much left."""
    more = amount - hold.amount
    if more > hold.slice.free:
        return False
    hold.slice.held += max(more, 0)
    hold.amount = max(amount, hold.amount)
    return True


def settle(hold: Hold, cost: int, now_ns: int) -> None:
    """The request is over: what it may have cost is used, the rest of its hold is free again.

    The cost may be more than was held (an overrun): it is counted in full.
    """
    hold.slice.held -= hold.amount
    hold.slice.used += cost
    hold.slice.touched_ns = now_ns
    hold.amount = 0


def out_of_credit() -> GanglionError:
    return OutOfCredit("The account is out of credit. Top up, then send the request again.")


def books_away() -> GanglionError:
    return Unavailable("Credit cannot be checked just now; send the request again.", retry_after=1)
