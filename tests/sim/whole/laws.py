"""What must hold after every step, whatever went wrong: read from the database and the world.

Each law is a name and what breaks it. Those of SQL look at the books alone; the others compare
the books with what the simulated hosts and clouds really do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

from brain.deployments.states import REPLICA
from brain.fleet.core import GAP_NS, SILENT_NS
from brain.fleet.states import LEASE
from brain.provisioning.states import ACCOUNT, INTENT, UNKNOWN
from kernel.clock import NS
from kernel.machine import Machine
from tests.sim.whole import own_images
from tests.sim.whole.broken import Broken
from tests.sim.whole.cloud_laws import LAWS as CLOUD_LAWS
from tests.sim.whole.cloud_laws import CloudLaws
from tests.sim.whole.look import Rows, Seen, one_statement

if TYPE_CHECKING:
    from tests.sim.whole.life import World

MACHINES: Mapping[str, Machine[Any, Any]] = {
    "lease": LEASE,
    "replica": REPLICA,
    "provision_intent": INTENT,
    "unknown_machine": UNKNOWN,
    "cloud_account": ACCOUNT,
}


# Each yields the ids of what breaks it; no row is good.
SQL_LAWS: tuple[tuple[str, str], ...] = (
    (
        "a GPU is in one live lease",
        "SELECT gpu_uuid FROM lease_gpu WHERE live GROUP BY gpu_uuid HAVING count(*) > 1",
    ),
    (
        "a live lease holds its GPUs, a closed one none",
        "SELECT l.lease_id FROM lease l LEFT JOIN lease_gpu g ON g.lease_id = l.lease_id AND g.live"
        " GROUP BY l.lease_id HAVING count(g.gpu_uuid) <>"
        " CASE WHEN l.state = 'closed' OR l.awaits_mib IS NOT NULL THEN 0 ELSE l.gpu_count END",
    ),
    (
        "a replica holds one live lease at most",
        "SELECT replica_id FROM lease WHERE state <> 'closed' GROUP BY 1 HAVING count(*) > 1",
    ),
    (
        "a live lease belongs to a replica that lives",
        "SELECT l.lease_id FROM lease l JOIN replica r ON r.replica_id = l.replica_id"
        " WHERE l.state = 'open' AND r.state IN ('pending', 'stopped')",
    ),
    (
        "money is held once for each paid lease that runs",
        "SELECT m.lease_id FROM meter_lease m LEFT JOIN hold h ON h.lease_id = m.lease_id"
        " AND h.state = 'open' WHERE m.hold_id IS NOT NULL GROUP BY m.lease_id, m.finished"
        " HAVING count(h.id) <> CASE WHEN m.finished THEN 0 ELSE 1 END",
    ),
    (
        "what is held of a balance is the sum of its open holds",
        "SELECT b.ledger_account FROM balance b LEFT JOIN hold h"
        " ON h.account_id = b.ledger_account AND h.state = 'open' WHERE b.asset = 'USD'"
        " GROUP BY b.ledger_account, b.held"
        " HAVING b.held <> coalesce(sum(h.amount - h.captured - h.released), 0)",
    ),
    (
        "all entries sum to zero",
        "SELECT asset FROM journal_entry GROUP BY asset HAVING sum(amount) <> 0",
    ),
    (
        "nothing is billed after a lease's end or its last evidence",
        "SELECT lease_id FROM meter_lease WHERE billed_ns > evidence_ns"
        " OR evidence_ns > coalesce(closed_ns, evidence_ns)",
    ),
    (
        "every open lease is on the meter",
        "SELECT l.lease_id FROM lease l LEFT JOIN meter_lease m ON m.lease_id = l.lease_id"
        " WHERE m.lease_id IS NULL OR (l.state = 'closed') <> (m.closed_ns IS NOT NULL)",
    ),
)


@dataclass
class Laws:
    """Keeps what it needs of the step before, to see what only may rise or not change."""

    connection: asyncpg.Connection[Any]
    checks: int = 0
    sql: tuple[tuple[str, str], ...] = SQL_LAWS
    machines: Mapping[str, Machine[Any, Any]] = field(default_factory=lambda: dict(MACHINES))
    _history_from: int = 0  # transactions come one after the other, so their numbers rise
    _states: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    _risen: dict[str, tuple[int, int]] = field(default_factory=dict)
    _silent: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._statement = one_statement(self.sql)
        self._clouds = CloudLaws()

    async def check(self, world: World) -> list[Broken]:
        """Every law, once. What breaks is told in the order of the laws."""
        self.checks += len(self.sql) + 9 + CLOUD_LAWS
        worked, twice = _worked(world)
        seen = await self._look(worked)
        return [
            *(Broken(self.sql[row["law"]][0], row["broken"]) for row in seen["books"]),
            *self._moves(world, seen["moves"]),
            *self._only_rising(world, seen["nodes"]),
            *_guards(world, seen["guards"]),
            *own_images.bills(seen["agentless"], world),
            *_evidence(world, seen["evidence"]),
            *twice,
            *(Broken("no GPU is offered that works", row["gpu_uuid"]) for row in seen["free"]),
            *(Broken("nobody works for a lease that is over", str(row)) for row in seen["over"]),
            *self._clouds.check(world, seen),
            *_errors(world),
        ]

    async def _look(self, worked: Mapping[str, str]) -> Seen:
        found = await self.connection.fetchval(
            self._statement, self._history_from, sorted(worked), sorted(set(worked.values()))
        )
        seen: Seen = json.loads(found)
        return seen

    def _moves(self, world: World, rows: Rows) -> list[Broken]:
        """Every state was reached by its table, one version after the other."""
        broken: list[Broken] = []
        for row in sorted(rows, key=lambda r: (r["entity"], r["entity_id"], r["version"])):
            world.trace.add(
                "moves",
                f"{row['entity_id']} {row['state_before'] or ''} -> {row['state']}: "
                f"{row['reason'][:120]}",
            )
            broken += self._move(row)
        self._history_from = max((row["xid"] + 1 for row in rows), default=self._history_from)
        return broken

    def _move(self, row: Any) -> Iterator[Broken]:
        key = (row["entity"], row["entity_id"])
        machine = self.machines.get(row["entity"])
        version, state = self._states.get(key, (0, None))
        self._states[key] = (row["version"], row["state"])
        if row["version"] != version + 1 or row["state_before"] != state:
            yield Broken("history has no gap", f"{key}: {version} {state} -> {row}")
        elif machine is not None and state is not None:
            kind = type(machine.start)
            events = {e.value: e for _, e in machine.table}
            event = events.get(row["event"])
            after = None if event is None else machine.table.get((kind(state), event))
            if after is None or after.value != row["state"]:
                yield Broken("states change by their table", f"{key}: {row}")

    def _only_rising(self, world: World, rows: Rows) -> list[Broken]:
        broken = []
        for row in rows:
            node, now = row["node_id"], (row["generation"], row["epoch"])
            before = self._risen.get(node, (0, 0))
            self._risen[node] = now
            if now[0] < before[0] or now[1] < before[1]:
                broken.append(Broken("generation and epoch only rise", f"{node} {before} {now}"))
        silent = {r["node_id"]: r for r in rows if r["silent_since_ns"] is not None}
        for node in sorted(silent.keys() - self._silent):
            broken += _silenced(world, silent[node])
        self._silent = set(silent)
        return broken


def _guards(world: World, rows: Rows) -> list[Broken]:
    """The owner's limits are as the owner set them, whatever state anything is in."""
    wanted = world.people.guards
    broken = []
    for row in rows:
        key, *held = row.values()
        if wanted.get(key, tuple(held)) != tuple(held):
            broken.append(Broken("cost guards outlive every change", f"{key} {tuple(held)}"))
    return broken


def _evidence(world: World, rows: Rows) -> list[Broken]:
    """The meter counts no time in which no agent told that the lease lives."""
    told = world.ground.told_ns
    return [
        Broken("evidence is what an agent told", f"{row['lease_id']} {row['evidence_ns']}")
        for row in rows
        if row["evidence_ns"] > max(row["opened_ns"], told.get(row["lease_id"], 0))
    ]


def _worked(world: World) -> tuple[dict[str, str], list[Broken]]:
    """Which lease each GPU works for, and those that work for two. (A rented machine is offered to
    nobody else: when it is to go, its lease ends before its agent hears of it.)"""
    worked: dict[str, str] = {}
    broken = []
    for agent in world.community:
        for lease_id, (_, uuids) in agent.host.working().items():
            for uuid in sorted(uuids):
                if uuid in worked:
                    said = f"{uuid}: {worked[uuid]} and {lease_id}"
                    broken.append(Broken("a GPU works for one lease", said))
                worked[uuid] = lease_id
    return worked, broken


def _silenced(world: World, row: Any) -> Iterator[Broken]:
    """A node is called silent only after two missed beats while some brain was receiving."""
    marked = row["silent_since_ns"]
    if row["last_seen_ns"] >= marked:
        return  # it is heard again, and will be marked so at the next look
    since = max(row["last_seen_ns"], world.receiving_since(marked, GAP_NS))
    if marked - since < SILENT_NS:
        said = f"{row['node_id']} after {(marked - since) / NS:.1f} s of reception"
        yield Broken("the brain's own silence is nobody's", said)


def _errors(world: World) -> list[Broken]:
    """Nothing in the product may fail in a way that no fault explains."""
    found = [error for error in world.faults.errors if not _explained(error)]
    world.faults.errors.clear()
    return [Broken("no error without a fault", f"{type(e).__name__}: {e}"[:600]) for e in found]


def _explained(error: BaseException) -> bool:
    return isinstance(error, OSError | TimeoutError)
