"""One rented machine of an emulated cloud: its life as a table, its past, and what it cost."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kernel.machine import Machine as Life
from kernel.money import HOUR_NS
from standins.clouds.stock import Stock

PAST_MAX = 1000


class State(StrEnum):
    ACCEPTED = "accepted"  # ordered, nothing runs
    BOOTING = "booting"
    RUNNING = "running"
    STOPPED = "stopped"  # asked for, or its program ended; the disk is kept
    INTERRUPTED = "interrupted"  # taken back by the cloud; the disk is kept
    FAILED = "failed"
    TERMINATING = "terminating"
    GONE = "gone"


class Event(StrEnum):
    BOOT = "boot"
    UP = "come up"
    FAIL = "fail"
    STOP = "stop"
    INTERRUPT = "be interrupted"
    START = "start"
    TERMINATE = "terminate"
    VANISH = "vanish"


_S, _E = State, Event
_UP = (_S.ACCEPTED, _S.BOOTING, _S.RUNNING)
_DOWN = (_S.STOPPED, _S.INTERRUPTED, _S.FAILED)
LIFE = Life[State, Event](
    name="machine",
    start=State.ACCEPTED,
    table={
        (_S.ACCEPTED, _E.BOOT): _S.BOOTING,
        (_S.BOOTING, _E.UP): _S.RUNNING,
        **{(state, _E.FAIL): _S.FAILED for state in _UP},
        **{(state, _E.STOP): _S.STOPPED for state in _UP},
        **{(state, _E.INTERRUPT): _S.INTERRUPTED for state in _UP},
        (_S.STOPPED, _E.START): _S.ACCEPTED,
        (_S.INTERRUPTED, _E.START): _S.ACCEPTED,
        **{(state, _E.TERMINATE): _S.TERMINATING for state in (*_UP, *_DOWN)},
        (_S.TERMINATING, _E.VANISH): _S.GONE,
    },
)


@dataclass(frozen=True, slots=True)
class Program:
    """What a machine runs once it is up. ``ends_machine``: a container goes with its program,
    a virtual machine stays. ``env`` may hold a token: it is told nowhere but to the account's
    own API. ``id_variable`` is where a container finds the machine's id."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    ends_machine: bool = True
    id_variable: str = ""


@dataclass(frozen=True, slots=True)
class Rental:
    """One order. ``bid_nano`` (per GPU-hour) makes it a spot machine, billed at its bid.

    ``details`` are the cloud's own fields, given back as they came.
    """

    stock_key: str
    tag: str = ""
    gpus: int = 1
    program: Program | None = None
    disk_gib: int = 0
    bid_nano: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Machine:
    """One machine, for ever: also when it is gone its past and its cost can be asked for."""

    machine_id: str
    rental: Rental
    stock: Stock  # as it was when it was ordered: the price is frozen
    made_ns: int
    lag_ns: int  # the listing shows it as it was so long ago
    tag: str
    details: dict[str, Any]
    state: State = State.ACCEPTED
    past: list[tuple[int, State]] = field(default_factory=list)
    ahead: deque[tuple[int, Event]] = field(default_factory=deque)
    up_ns: int | None = None  # since when it runs
    why: str = ""  # of its last move that nobody asked for
    exit_code: int | None = None
    deaf_until_ns: int = 0  # it takes no end before then, whatever the API said
    _owed: int = 0  # nano-dollars times nanoseconds
    _since_ns: int = 0

    @property
    def spot(self) -> bool:
        return self.rental.bid_nano is not None

    @property
    def gpu_rate_nano(self) -> int:
        """Per hour of the whole machine, without its disk."""
        bid = self.rental.bid_nano
        return (self.stock.price_nano if bid is None else bid) * self.rental.gpus

    @property
    def disk_rate_nano(self) -> int:
        return self.stock.storage_nano_gib_hour * self.rental.disk_gib

    @property
    def holds_gpus(self) -> bool:
        return self.state in _UP or (self.state == State.TERMINATING and self._was_up())

    def rate_nano(self, gpu_billed: frozenset[State]) -> int:
        """What an hour in its present state costs."""
        if self.state == State.GONE:
            return 0
        billed = self.state in gpu_billed and (self.state != State.TERMINATING or self._was_up())
        return self.disk_rate_nano + (self.gpu_rate_nano if billed else 0)

    def move(self, event: Event, at_ns: int, gpu_billed: frozenset[State]) -> None:
        """The only way to another state; raises ``Conflict`` where the table has none."""
        after = LIFE.next(self.state, event)
        self.accrue(at_ns, gpu_billed)
        self.state = after
        self.past.append((at_ns, after))
        del self.past[:-PAST_MAX]
        self.up_ns = at_ns if after == State.RUNNING else None

    def accrue(self, now_ns: int, gpu_billed: frozenset[State]) -> None:
        if now_ns > self._since_ns:
            self._owed += self.rate_nano(gpu_billed) * (now_ns - self._since_ns)
            self._since_ns = now_ns

    def cost_nano(self) -> int:
        """All that it cost so far, as of the last accrual."""
        return self._owed // HOUR_NS

    def disk_nano(self) -> int:
        """The disk's part of it: a disk costs from the order to the end."""
        end_ns = self.past[-1][0] if self.state == State.GONE else self._since_ns
        return self.disk_rate_nano * (end_ns - self.made_ns) // HOUR_NS

    def state_at(self, at_ns: int) -> State | None:
        """What it was then; None: it was not there yet."""
        for began, state in reversed(self.past):
            if began <= at_ns:
                return state
        return None

    def _was_up(self) -> bool:
        return len(self.past) > 1 and self.past[-2][1] in _UP


def new_machine(machine_id: str, rental: Rental, stock: Stock, at_ns: int, lag_ns: int) -> Machine:
    made = Machine(machine_id, rental, stock, at_ns, lag_ns, rental.tag, dict(rental.details))
    made.past.append((at_ns, State.ACCEPTED))
    made._since_ns = at_ns
    return made
