"""Laws of the emulated world: capacity, money, listing lag, and what its clock makes happen."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.clock import NS, ManualClock
from kernel.money import HOUR_NS
from standins.clouds.faults import Fault, FaultKind, Operation
from standins.clouds.machine import Machine, Rental, State
from standins.clouds.refusals import Refused, Trouble
from standins.clouds.rules import Rules
from standins.clouds.stock import Stock
from standins.clouds.world import World
from tests.support.cases import cases

STOCKS = (
    Stock("l4", "L4", capacity=4, price_nano=390_000_007, bid_nano=100, gpus=4),
    Stock("h100", "H100", capacity=8, price_nano=2_690_000_001, storage_nano_gib_hour=137),
)
RULES = Rules(listing_lag_seconds=3.0, linger_seconds=2.0, terminate_seconds=(0.0, 30.0))
UP = (State.ACCEPTED, State.BOOTING, State.RUNNING)

VERBS = (
    "order",
    "order",
    "spot",
    "wait",
    "wait",
    "wait",
    "stop",
    "start",
    "terminate",
    "terminate",
)
VERBS += ("interrupt", "fail", "reprice")
step = st.tuples(st.sampled_from(VERBS), st.integers(0, 50), st.floats(0, 20))
steps = st.lists(step, min_size=10, max_size=50)


def make(seed: int = 1, rules: Rules = RULES, **changes: object) -> tuple[World, ManualClock]:
    clock = ManualClock()
    world = World(clock, random.Random(seed), stocks=STOCKS, rules=replace(rules, **changes))  # type: ignore[arg-type]
    return world, clock


def act(world: World, clock: ManualClock, verb: str, number: int, seconds: float) -> None:
    machines = sorted(world.machines)
    chosen = machines[number % len(machines)] if machines else "none"
    try:
        if verb in ("order", "spot"):
            key = "l4" if verb == "spot" or number % 2 else "h100"
            bid = 100 + number if verb == "spot" else None
            rental = Rental(key, f"t{number}", number % 4 + 1, disk_gib=number, bid_nano=bid)
            world.create(rental)
        elif verb == "wait":
            clock.advance(seconds)
        elif verb == "reprice":
            world.set_stock(replace(STOCKS[0], bid_nano=100 + number))
        else:
            getattr(world, verb)(chosen)
    except Refused:
        pass


def owed_nano(machine: Machine, now_ns: int) -> int:
    """The cost once more, from the machine's past alone: from one moment to the next."""
    total, before = 0, None
    moments = [*machine.past[1:], (now_ns, None)]
    for (began, state), (ended, _) in zip(machine.past, moments, strict=True):
        dies_up = state == State.TERMINATING and before in UP
        gpu = state in (State.BOOTING, State.RUNNING) or dies_up
        rate = machine.disk_rate_nano + (machine.gpu_rate_nano if gpu else 0)
        total += 0 if state == State.GONE else rate * (ended - began)
        before = state
    return total // HOUR_NS


def holds(machine: Machine) -> bool:
    """A GPU is held until a machine that was up is gone; a stopped one holds none."""
    states = [state for _, state in machine.past if state != State.TERMINATING]
    return states[-1] in UP


@settings(max_examples=cases(150), deadline=None)
@given(steps, st.integers(0, 1000))
def test_money_capacity_and_lag_hold_after_every_step(
    todo: list[tuple[str, int, float]], seed: int
) -> None:
    world, clock = make(seed)
    for verb, number, seconds in todo:
        act(world, clock, verb, number, seconds)
        listed = {seen.machine.machine_id for seen in world.listing()}
        now = clock.now_ns()
        for stock in STOCKS:
            mine = [m for m in world.machines.values() if m.stock.key == stock.key]
            held = sum(m.rental.gpus for m in mine if holds(m))
            assert held <= stock.capacity
            assert world.free(stock.key) == stock.capacity - held
        for machine in world.machines.values():
            assert world.cost_nano(machine.machine_id) == owed_nano(machine, now)
            age, gone = now - machine.made_ns, machine.state == State.GONE
            if not gone and age > 3 * NS:
                assert machine.machine_id in listed
            if gone and now - machine.past[-1][0] > 5 * NS:
                assert machine.machine_id not in listed
        assert world.spent_nano() == sum(owed_nano(m, now) for m in world.machines.values())


@settings(max_examples=cases(25), deadline=None)
@given(steps, st.integers(0, 1000))
def test_how_often_one_looks_changes_nothing(todo: list[tuple[str, int, float]], seed: int) -> None:
    seldom, often = make(seed), make(seed)
    for verb, number, seconds in todo:
        act(*seldom, verb, number, seconds)
        if verb == "wait":
            for _ in range(10):
                often[1].advance(seconds / 10)
                often[0].advance()
            often[1].set_wall(seldom[1].now_ns())
        else:
            act(*often, verb, number, seconds)
    assert seldom[0].spent_nano() == pytest.approx(often[0].spent_nano(), abs=len(todo) + 1)
    pasts = [
        [[state for _, state in m.past] for m in w.machines.values()] for w, _ in (seldom, often)
    ]
    assert pasts[0] == pasts[1]


def test_a_new_machine_is_missing_from_the_list_for_a_while_but_can_be_read() -> None:
    world, clock = make(listing_lag_seconds=100.0)
    machines = [world.create(Rental("h100")) for _ in range(8)]
    assert world.listing() == []
    assert world.get(machines[0].machine_id).state == State.ACCEPTED
    clock.advance(50)
    assert 0 < len(world.listing()) < 8
    clock.advance(50)
    assert len(world.listing()) == 8


def test_a_machine_that_is_gone_is_shown_as_it_was_then_as_gone_then_not_at_all() -> None:
    world, clock = make(
        listing_lag_seconds=100.0, linger_seconds=10.0, terminate_seconds=(1.0, 1.0)
    )
    machine = world.create(Rental("h100"))
    clock.advance(500)
    world.terminate(machine.machine_id)
    clock.advance(machine.lag_ns / NS)
    shown = []
    while found := world.listing():
        shown.append(found[0].state)
        clock.advance(0.25)
    assert list(dict.fromkeys(shown)) == [State.TERMINATING, State.GONE]
    assert world.alive() == []


def test_a_full_price_pushes_the_lowest_bids_out() -> None:
    world, _ = make()
    low = world.create(Rental("l4", gpus=2, bid_nano=100))
    high = world.create(Rental("l4", gpus=2, bid_nano=900))
    world.create(Rental("l4", gpus=2))
    assert (low.state, high.state) == (State.INTERRUPTED, State.ACCEPTED)
    with pytest.raises(Refused, match="not enough") as refused:
        world.create(Rental("l4", gpus=1, bid_nano=900))
    assert refused.value.trouble == Trouble.NO_CAPACITY
    with pytest.raises(Refused):
        world.start(low.machine_id)


def test_a_raised_least_bid_interrupts_what_is_below_it() -> None:
    world, _ = make()
    machine = world.create(Rental("l4", bid_nano=500))
    world.set_stock(replace(STOCKS[0], bid_nano=501))
    assert (machine.state, machine.why) == (State.INTERRUPTED, "outbid")


def test_a_price_is_frozen_at_the_order() -> None:
    world, clock = make(accept_seconds=(0, 0))
    machine = world.create(Rental("h100"))
    world.set_stock(replace(STOCKS[1], price_nano=1))
    clock.advance(3600)
    assert world.cost_nano(machine.machine_id) == STOCKS[1].price_nano


def test_without_money_machines_stop_and_none_is_rented() -> None:
    world, clock = make(balance_nano=1_000_000_000)
    machine = world.create(Rental("h100"))
    clock.advance(3600)
    world.advance()
    assert (machine.state, machine.why) == (State.STOPPED, "out of money")
    with pytest.raises(Refused) as refused:
        world.create(Rental("l4"))
    assert refused.value.trouble == Trouble.NO_BALANCE


def test_an_account_has_a_limit() -> None:
    world, _ = make(machines_max=1)
    world.create(Rental("l4"))
    with pytest.raises(Refused) as refused:
        world.create(Rental("l4"))
    assert refused.value.trouble == Trouble.ACCOUNT_LIMIT


def test_time_that_goes_back_changes_nothing() -> None:
    world, clock = make()
    machine = world.create(Rental("l4"))
    clock.advance(60)
    spent = world.spent_nano()
    clock.set_wall(0)
    assert (world.spent_nano(), machine.state) == (spent, State.RUNNING)
    assert [seen.machine for seen in world.listing()] == [machine]
    assert world.create(Rental("l4")).made_ns > machine.made_ns


def test_the_same_seed_gives_the_same_world() -> None:
    def story(seed: int) -> list[object]:
        world, clock = make(seed)
        world.add_faults([Fault(FaultKind.ENDLESS_BOOT, next=0, rate=0.5)])
        for number in range(8):
            with world.under(world.take_fault(Operation.CREATE)):
                act(world, clock, "order", number, 0)
            clock.advance(1)
        return [(m.machine_id, m.past, m.lag_ns) for m in world.machines.values()]

    assert story(7) == story(7)
    assert story(7) != story(8)


def test_gone_machines_are_forgotten_in_the_end_but_not_their_cost() -> None:
    world, clock = make(accept_seconds=(0, 0), terminate_seconds=(0, 0), gone_kept_max=3)
    for _ in range(10):
        machine = world.create(Rental("l4"))
        clock.advance(3600)
        world.terminate(machine.machine_id)
        clock.advance(10)
    assert world.spent_nano() == 10 * STOCKS[0].price_nano
    assert len(world.machines) == 3
