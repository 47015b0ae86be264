"""Every state table of the product: found by looking, so that none is forgotten.

A new table is named in ``ENDS`` with the states that nothing leaves; the laws below are then its.
"""

from __future__ import annotations

import ast
import importlib
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from brain.plumbing import Tx
from brain.plumbing.moves import move
from kernel.errors import Conflict
from kernel.machine import Machine
from tests.architecture.test_tidy import PRODUCT, ROOT
from tests.integration.brain.plumbing.tables import Lamp

AT, LATER = datetime(2027, 1, 15, tzinfo=UTC), datetime(2027, 1, 16, tzinfo=UTC)
# The states of each table that no event leaves.
ENDS: dict[str, set[str]] = {
    "brain.deployments.states.REPLICA": {"stopped", "failed"},
    "brain.fleet.states.LEASE": {"closed"},
    "brain.payments.states.REVERSAL": set(),  # a bank may think again
    "brain.payments.states.TOP_UP": {"paid"},
    "brain.payouts.states.PAYOUT": {"paid", "failed"},
    "brain.pods.states.POD": {"terminated"},
    "brain.pods.states.VOLUME": {"gone"},
    "brain.provisioning.states.ACCOUNT": set(),
    "brain.provisioning.states.INTENT": {"terminated", "absent"},
    "brain.provisioning.states.UNKNOWN": set(),  # a cloud may list it again
    "brain.trust.states.CHECK": {"passed", "failed", "ended"},
    "node_agent.containers.states.LIFE": set(),  # absent, it may be pulled again
    "standins.clouds.machine.LIFE": {"gone"},
}


def calls(path: Path) -> int:
    """How many tables a file makes, by whatever name it knows ``kernel.machine.Machine``."""
    text = path.read_text()
    if "kernel.machine" not in text and "kernel import machine" not in text:
        return 0
    tree = ast.parse(text)
    names = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "kernel.machine"
        for alias in node.names
        if alias.name == "Machine"
    }
    assert names or "Machine" not in text, f"{path}: import Machine by its name"
    made = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    plain = [f.value if isinstance(f, ast.Subscript) else f for f in made]
    return sum(isinstance(f, ast.Name) and f.id in names for f in plain)


def find() -> dict[str, Machine[Any, Any]]:
    found: dict[str, Machine[Any, Any]] = {}
    for path in PRODUCT:
        if not (made := calls(path)):
            continue
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        kept = vars(importlib.import_module(module)).items()
        here = {f"{module}.{name}": one for name, one in kept if isinstance(one, Machine)}
        assert len(here) == made, f"{path}: each table is a constant of its module"
        found |= here
    return found


FOUND = find()
each_table = pytest.mark.parametrize("name", sorted(FOUND))


def events(machine: Machine[Any, Any]) -> list[Any]:
    (kind,) = {type(event) for _, event in machine.table}
    return list(kind)


def unlisted(machine: Machine[Any, Any]) -> list[tuple[Any, Any]]:
    every = product(type(machine.start), events(machine))
    return [pair for pair in every if pair not in machine.table]


def test_every_table_is_found_and_says_where_it_ends() -> None:
    assert sorted(FOUND) == sorted(ENDS), "a new table is named here, with its last states"


@each_table
def test_every_state_is_reached_and_only_the_last_ones_are_left_by_nothing(name: str) -> None:
    machine = FOUND[name]
    assert machine.reachable() == set(type(machine.start))
    leaving = {state.value for state, _ in machine.table}
    assert {s.value for s in type(machine.start)} - leaving == ENDS[name]
    assert {s.value for s in machine.terminal()} == ENDS[name]


@each_table
def test_every_event_moves_something_and_every_listed_move_is_taken(name: str) -> None:
    machine = FOUND[name]
    assert {event for _, event in machine.table} == set(events(machine))
    for (state, event), after in machine.table.items():
        assert machine.can(state, event)
        assert machine.next(state, event) is after
        assert type(state) is type(after) is type(machine.start)


@each_table
async def test_every_unlisted_move_is_refused_and_changes_nothing(name: str) -> None:
    """By the only setter of states too, and before it asks the database: here it has none."""
    machine = FOUND[name]
    pairs = unlisted(machine)
    assert pairs, "a table that lists everything refuses nothing"
    for state, event in pairs:
        said = f"^A {machine.name} that is {state.value} cannot {event.value}\\.$"
        assert not machine.can(state, event)
        with pytest.raises(Conflict, match=said):
            machine.next(state, event)
        row = Lamp(id="one", state=state.value, version=3, state_reason="before", state_at=AT)
        async with Tx() as tx:
            with pytest.raises(Conflict, match=said):
                await move(tx, row, machine, event, reason="after", at=LATER)
            assert not tx.new
        kept = (row.state, row.version, row.state_reason, row.state_at)
        assert kept == (state.value, 3, "before", AT)
