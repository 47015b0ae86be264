"""The world under an emulated cloud: stocks, machines and money by one clock. No I/O in it.

Everything happens at its due time: however seldom :meth:`World.advance` is called, states, prices
and costs are those that a call at every nanosecond would have given.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from kernel.clock import NS, Clock
from standins.clouds.faults import Fault, FaultKind, FaultPlan, Operation
from standins.clouds.limits import Limits
from standins.clouds.machine import LIFE, Event, Machine, Rental, State, new_machine
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.rules import Exit, Launcher, Rules, Seen, boot_plan, short_id, span_ns
from standins.clouds.stock import Shelf, Stock

UNKNOWN_GPU = Stock("unknown-gpu", "NVIDIA Quux 9000", capacity=8, price_nano=100_000_000)


class World:
    """One account at one emulated cloud. Synchronous; one thread at a time."""

    def __init__(
        self,
        clock: Clock,
        chance: random.Random,
        launcher: Launcher | None = None,
        *,
        stocks: Iterable[Stock] = (),
        rules: Rules | None = None,
        faults: Iterable[Fault] = (),
        new_id: Callable[[random.Random], str] = short_id,
    ) -> None:
        self.clock = clock
        self.chance = chance
        self.launcher = launcher
        self.rules = rules or Rules()
        self.stocks = {stock.key: stock for stock in stocks}
        self._now_ns = clock.now_ns()
        self.faults = FaultPlan(faults, now_ns=self._now_ns)
        self.limits = Limits()
        self.calls: dict[str, int] = {}
        self.machines: dict[str, Machine] = {}  # all that ever were, for the truth
        self._near: dict[str, Machine] = {}  # those that a listing may show
        self._new_id = new_id
        self._fault: Fault | None = None
        self._forgotten_nano = 0

    # --- time ---------------------------------------------------------------------------------

    @property
    def now_ns(self) -> int:
        """The world's time: the clock's, but it never goes back."""
        self._now_ns = max(self._now_ns, self.clock.now_ns())
        return self._now_ns

    @property
    def told_ns(self) -> int:
        """How far times in this answer are off (``clock_off``)."""
        fault = self._met(FaultKind.CLOCK_OFF)
        return round(fault.seconds * NS) if fault else 0

    def advance(self) -> None:
        """Let everything happen that is due by now."""
        now = self.now_ns
        if self.launcher is not None:
            for exit in self.launcher.exits():
                self._exited(exit)
        for machine in list(self._near.values()):
            while machine.ahead and machine.ahead[0][0] <= now:
                at_ns, event = machine.ahead.popleft()
                self._move(machine, event, at_ns)
            machine.accrue(now, self.rules.gpu_billed)
            if machine.state == State.GONE and not self._shown(machine, now):
                del self._near[machine.machine_id]
        self._stop_without_money()
        self._forget()

    def next_due_ns(self) -> int | None:
        """When something happens by itself next: how far a simulation may jump."""
        return min((m.ahead[0][0] for m in self._near.values() if m.ahead), default=None)

    # --- faults -------------------------------------------------------------------------------

    def take_fault(self, operation: Operation) -> Fault | None:
        """Count a call, and take the fault that it meets. Hand it to :meth:`under`."""
        self.calls[operation] = self.calls.get(operation, 0) + 1
        return self.faults.take(operation, self.chance, self.now_ns)

    @contextmanager
    def under(self, fault: Fault | None) -> Iterator[None]:
        """The verbs called inside meet this fault."""
        self._fault = fault
        try:
            yield
        finally:
            self._fault = None

    def add_faults(self, faults: Iterable[Fault]) -> None:
        self.faults.add(faults, now_ns=self.now_ns)

    # --- the market ---------------------------------------------------------------------------

    def shelves(self) -> list[Shelf]:
        """Every stock with what is free of it, the empty ones too."""
        self.advance()
        held = self._held()
        shown = [Shelf(one, max(one.capacity - held[key], 0)) for key, one in self.stocks.items()]
        if self._met(FaultKind.UNKNOWN_GPU):
            shown.append(Shelf(UNKNOWN_GPU, UNKNOWN_GPU.capacity))
        if odd := self._met(FaultKind.PRICE):
            bid = odd.price_nano
            shown = [
                Shelf(replace(one.stock, price_nano=odd.price_nano, bid_nano=bid), one.free)
                for one in shown
            ]
        return shown

    def free(self, key: str) -> int:
        """GPUs of a stock that nobody holds."""
        stock = self.stocks.get(key)
        return max(stock.capacity - self._held()[key], 0) if stock else 0

    def set_stock(self, stock: Stock) -> None:
        """Add or change a stock. Spot machines below a raised least bid are interrupted."""
        self.advance()
        self.stocks[stock.key] = stock
        for machine in self._holders(stock.key):
            bid = machine.rental.bid_nano
            if bid is not None and (stock.bid_nano is None or bid < stock.bid_nano):
                self._drop(machine, Event.INTERRUPT, "outbid")

    def remove_stock(self, key: str) -> None:
        """Nothing more of it can be rented; what is rented stays."""
        self.stocks.pop(key, None)

    # --- machines -----------------------------------------------------------------------------

    def create(self, rental: Rental) -> Machine:
        """Rent one machine, or raise ``Refused`` and do nothing."""
        self.advance()
        stock = self.stocks.get(rental.stock_key)
        if stock is None:
            raise Refused(Trouble.NO_CAPACITY, "This offer is not available any more.")
        self._check(rental, stock)
        if self._met(FaultKind.GHOST):
            return self._made(rental, stock)  # and kept nowhere
        self._make_room(rental, stock)
        machine = self._keep(self._made(rental, stock))
        if self._met(FaultKind.DOUBLED) and self.free(stock.key) >= rental.gpus:
            self._keep(self._made(rental, stock))
        return machine

    def get(self, machine_id: str) -> Seen:
        """One machine as it is now, gone ones while they linger; else ``Refused`` (missing)."""
        self.advance()
        machine = self._find(machine_id)
        at_ns = self.now_ns
        if stale := self._met(FaultKind.STALE):
            at_ns -= round(stale.seconds * NS)
        seen = self._seen(machine, at_ns)
        if seen is None:
            raise _missing(machine_id)
        return seen

    def listing(self) -> list[Seen]:
        """The account's machines, oldest first, each as it was a lag ago: a new one is missing
        for at most ``listing_lag_seconds``, one that is gone is shown for at most as long."""
        self.advance()
        now = self.now_ns
        stale = self._met(FaultKind.STALE)
        back = round(stale.seconds * NS) if stale else 0
        known = self.machines if back else self._near
        looks = [self._seen(one, now - max(back, one.lag_ns)) for one in known.values()]
        shown = [look for look in looks if look is not None]
        if partial := self._met(FaultKind.PARTIAL):
            keep = len(shown) - round(len(shown) * partial.share)
            kept = set(self.chance.sample(range(len(shown)), max(keep, 0)))
            shown = [seen for place, seen in enumerate(shown) if place in kept]
        return shown

    def stop(self, machine_id: str) -> Machine:
        return self._asked(machine_id, Event.STOP)

    def start(self, machine_id: str) -> Machine:
        """Start a stopped or interrupted machine, if its stock has room for it."""
        return self._asked(machine_id, Event.START)

    def terminate(self, machine_id: str) -> Machine:
        """May be repeated: a machine on its way out is told as it is."""
        return self._asked(machine_id, Event.TERMINATE)

    def interrupt(self, machine_id: str, why: str = "preempted") -> Machine:
        """The cloud takes it back, as no API call can ask."""
        self.advance()
        return self._drop(self._known(machine_id), Event.INTERRUPT, why)

    def fail(self, machine_id: str, why: str = "hardware failure") -> Machine:
        self.advance()
        return self._drop(self._known(machine_id), Event.FAIL, why)

    # --- the truth, for tests and for the stand-in's own routes ---------------------------------

    def alive(self, tag_prefix: str = "") -> list[Machine]:
        """Every machine that is not gone, whatever a listing says."""
        self.advance()
        found = self._near.values()
        return [m for m in found if m.state != State.GONE and m.tag.startswith(tag_prefix)]

    def cost_nano(self, machine_id: str) -> int:
        """All that a machine cost to this moment."""
        self.advance()
        return self._known(machine_id).cost_nano()

    def spent_nano(self) -> int:
        """All that all machines cost to this moment."""
        self.advance()
        return self._spent()

    def balance_nano(self) -> int | None:
        budget = self.rules.balance_nano
        return None if budget is None else budget - self.spent_nano()

    def close(self) -> None:
        """Kill every program; the world is left as it is."""
        if self.launcher is not None:
            for machine_id in self._near:
                self.launcher.kill(machine_id)

    # --- inside -------------------------------------------------------------------------------

    def _met(self, kind: FaultKind) -> Fault | None:
        return self._fault if self._fault is not None and self._fault.fault == kind else None

    def _known(self, machine_id: str) -> Machine:
        machine = self.machines.get(machine_id)
        if machine is None:
            raise _missing(machine_id)
        return machine

    def _find(self, machine_id: str) -> Machine:
        """As a call of the API finds it."""
        if self._met(FaultKind.MISSING):
            raise _missing(machine_id)
        return self._known(machine_id)

    def _seen(self, machine: Machine, at_ns: int) -> Seen | None:
        state = machine.state_at(at_ns)
        if state is None or (state == State.GONE and not self._lingers(machine, at_ns)):
            return None
        return Seen(machine, state)

    def _lingers(self, machine: Machine, at_ns: int) -> bool:
        return at_ns < machine.past[-1][0] + round(self.rules.linger_seconds * NS)

    def _shown(self, machine: Machine, now_ns: int) -> bool:
        return self._lingers(machine, now_ns - machine.lag_ns)

    def _held(self) -> Counter[str]:
        held: Counter[str] = Counter()
        for machine in self._near.values():
            if machine.holds_gpus:
                held[machine.rental.stock_key] += machine.rental.gpus
        return held

    def _holders(self, key: str) -> list[Machine]:
        return [m for m in self._near.values() if m.rental.stock_key == key and m.holds_gpus]

    def _check(self, rental: Rental, stock: Stock) -> None:
        if not 1 <= rental.gpus <= stock.gpus:
            raise Refused(Trouble.BAD_REQUEST, f"1 to {stock.gpus} GPUs of this kind, please.")
        bid = rental.bid_nano
        if bid is not None and (stock.bid_nano is None or bid < stock.bid_nano):
            raise Refused(Trouble.BAD_REQUEST, "The bid is below the least bid.")
        balance = self.balance_nano()
        if balance is not None and balance <= 0:
            raise Refused(Trouble.NO_BALANCE, "Your account balance is too low.")
        most = self.rules.machines_max
        if most is not None and len(self.alive()) >= most:
            raise Refused(Trouble.ACCOUNT_LIMIT, f"Your account may have {most} machines.")

    def _make_room(self, rental: Rental, stock: Stock) -> None:
        """Machines at the full price push spot machines out, the lowest bids first."""
        lacking = rental.gpus - self.free(stock.key)
        weaker = [m for m in self._holders(stock.key) if m.spot and m.state != State.TERMINATING]
        weaker.sort(key=lambda machine: machine.rental.bid_nano or 0)
        yields = [] if rental.bid_nano is not None else weaker
        if lacking > sum(machine.rental.gpus for machine in yields):
            raise Refused(Trouble.NO_CAPACITY, "There are not enough free GPUs.")
        for machine in yields:
            if lacking <= 0:
                return
            lacking -= machine.rental.gpus
            self._drop(machine, Event.INTERRUPT, "preempted")

    def _made(self, rental: Rental, stock: Stock) -> Machine:
        lag_ns = round(self.chance.uniform(0, self.rules.listing_lag_seconds) * NS)
        machine = new_machine(self._new_id(self.chance), rental, stock, self.now_ns, lag_ns)
        self._plan_boot(machine)
        return machine

    def _keep(self, machine: Machine) -> Machine:
        self.machines[machine.machine_id] = self._near[machine.machine_id] = machine
        return machine

    def _plan_boot(self, machine: Machine) -> None:
        now = self.now_ns
        machine.ahead = boot_plan(machine, self.rules, self._fault, self.chance, now)

    def _asked(self, machine_id: str, event: Event) -> Machine:
        """Stop, start, terminate, as an API call asks for them."""
        self.advance()
        machine, now = self._find(machine_id), self.now_ns
        if machine.state == State.GONE:
            raise _missing(machine_id)
        if event == Event.TERMINATE:
            if deaf := self._met(FaultKind.DEAF):
                machine.deaf_until_ns = now + round(deaf.seconds * NS)
            if machine.state == State.TERMINATING or now < machine.deaf_until_ns:
                return machine
        if self._met(FaultKind.LIE):
            return machine
        if event == Event.START and LIFE.can(machine.state, event):
            stock = self.stocks.get(machine.rental.stock_key)
            if stock is None:
                raise Refused(Trouble.NO_CAPACITY, "There are not enough free GPUs.")
            self._make_room(machine.rental, stock)
        self._drop(machine, event, "")
        if event == Event.START:
            self._plan_boot(machine)
        elif event == Event.TERMINATE:
            last_ns = span_ns(self.rules.terminate_seconds, self.chance)
            machine.ahead.append((now + last_ns, Event.VANISH))
        return machine

    def _drop(self, machine: Machine, event: Event, why: str) -> Machine:
        """A move that is not of the machine's plan: what was planned falls away."""
        if not LIFE.can(machine.state, event):
            said = f"A machine that is {machine.state} cannot {event}."
            raise Refused(Trouble.CONFLICT, said)
        machine.ahead.clear()
        self._move(machine, event, self.now_ns, why)
        return machine

    def _move(self, machine: Machine, event: Event, at_ns: int, why: str = "") -> None:
        before = machine.state
        machine.move(event, at_ns, self.rules.gpu_billed)
        machine.why = why or ("boot failed" if event == Event.FAIL else "")
        program = machine.rental.program
        if self.launcher is None:
            return
        if machine.state == State.GONE:
            self.launcher.forget(machine.machine_id)
        elif program is None:
            return
        elif machine.state == State.RUNNING:
            machine.exit_code = None
            gpus = machine.rental.gpus if machine.stock.gpu_name else 0
            self.launcher.start(machine.machine_id, program, gpus=gpus)
        elif before == State.RUNNING:
            self.launcher.kill(machine.machine_id)

    def _exited(self, exit: Exit) -> None:
        machine = self.machines.get(exit.machine_id)
        if machine is None or machine.state != State.RUNNING:
            return
        machine.exit_code = exit.code
        program = machine.rental.program
        contained = program is not None and program.ends_machine
        why = f"its program ended with {exit.code}" if contained else "it turned itself off"
        self._drop(machine, Event.STOP, why)

    def _stop_without_money(self) -> None:
        """Noticed at the next look, not to the nanosecond; disks go on costing."""
        budget = self.rules.balance_nano
        if budget is None or self._spent() < budget:
            return
        for machine in self._near.values():
            if LIFE.can(machine.state, Event.STOP):
                self._drop(machine, Event.STOP, "out of money")

    def _spent(self) -> int:
        return self._forgotten_nano + sum(m.cost_nano() for m in self.machines.values())

    def _forget(self) -> None:
        surplus = len(self.machines) - len(self._near) - self.rules.gone_kept_max
        if surplus > 0:
            gone = [one for one in self.machines if one not in self._near]
            for machine_id in gone[:surplus]:
                self._forgotten_nano += self.machines.pop(machine_id).cost_nano()


def _missing(machine_id: str) -> Refused:
    return Refused(Trouble.MISSING, f"There is no machine {machine_id[:80]}.")
