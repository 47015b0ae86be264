"""What costs by the hour is recorded from the books and the fleet's rows: leases on nodes, rented
machines, volumes, processors' fees. It finds what is due by itself; being run twice is boring.

Each source has a cursor, locked while its rows grow: none is written twice and none left out,
whatever dies where. The first pass records all that ever ran.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from brain.costs import core, store
from brain.costs.core import Running, Stretch
from brain.costs.recorder import Recorder
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Ctx, Tx
from kernel.clock import NS
from kernel.ids import AccountId, CostId, TxId, uuid7

PAGE = 200
FRESH_NS = 20 * NS  # a running source is looked at no more often
WAIT_NS = 600 * NS
OVERLAP_NS = 3600 * NS  # no row is committed so long after its id was born
OWN, NODES = "own", "nodes"

_log = structlog.get_logger()


@dataclass(frozen=True)
class Terms:
    """``recorder`` names accounts and says whether anything is written down;
    ``own_nano_hour``: what an hour of one of our own GPUs costs us."""

    recorder: Recorder
    own_nano_hour: int = 0


@dataclass(frozen=True)
class Found:
    """A source with what its rows say beside the sum."""

    running: Running
    lease_id: str
    model: str
    subject: str
    payer: AccountId | None


async def record_due(ctx: Ctx, terms: Terms, *, halt: Callable[[], bool] = lambda: False) -> int:
    """Record what things cost since they were last looked at. Returns how many had news. May run
    any number of times at once; what fails is logged and tried again."""
    began_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        last_ns = await store.last_pass_ns(tx)
    born_ms = max(0, last_ns - OVERLAP_NS) // 1_000_000
    done = await _sources(ctx, terms, _leases, f"lease_{_born(born_ms)}", halt)
    done += await _sources(ctx, terms, _machines, f"intent_{_born(born_ms)}", halt)
    done += await _sources(ctx, terms, _strays, "", halt)
    done += await _booked(ctx, terms, str(TxId.of(uuid7(born_ms, 0))), halt)
    if not halt():
        async with ctx.db.begin() as tx:
            row = await store.cursor(tx, store.LAST_PASS)
            row.until_ns, row.done = max(row.until_ns, began_ns), True
    return done


def _born(ms: int) -> str:
    """The least that an id born then can end in."""
    return uuid7(ms, 0).hex if ms else ""


async def _sources(ctx: Ctx, terms: Terms, look: Any, born: str, halt: Callable[[], bool]) -> int:
    after, done = "", 0
    while not halt():
        async with ctx.db.begin() as tx:
            rows: Sequence[Any] = await look(tx, after, born)
        for row in rows:
            try:
                async with ctx.db.begin() as tx:
                    done += await _grown(tx, ctx, terms, FOUND[look](row, ctx, terms))
            except Exception as error:  # of this one alone: the others must not wait for it
                _log.exception("cost_not_recorded", source=row.source, error=repr(error))
        if len(rows) < PAGE:
            break
        after = rows[-1].source
    return done


async def _leases(tx: Tx, after: str, born: str) -> Sequence[Any]:
    return await store.leases(tx, after=after, born=born, limit=PAGE)


async def _machines(tx: Tx, after: str, born: str) -> Sequence[Any]:
    return await store.machines(tx, after=after, born=born, limit=PAGE)


async def _strays(tx: Tx, after: str, born: str) -> Sequence[Any]:
    return await store.strays(tx, after=after, limit=PAGE)


def _lease(row: Any, ctx: Ctx, terms: Terms) -> Found:
    """A lease on a node: its provider earns by it. On our own nodes only our own figure counts."""
    own = row.provider in (None, PLATFORM_ACCOUNT)
    free = row.begun_ns is None or row.ready_ns is None  # billed only once it was ready
    until = row.billed_ns if row.finished else _settled(row, row.evidence_ns)
    running = Running(
        source=row.source,
        provider=OWN if own else NODES,
        gpus=row.gpus,
        nano_hour=0 if free else row.gpus * (terms.own_nano_hour if own else row.renter_rate_nano),
        begun_ns=row.begun_ns or 0,
        until_ns=(row.begun_ns or 0) if free else max(until or 0, row.begun_ns),
        keeps=0 if own else row.fee_basis_points,
        final_nano=row.earned_nano - row.taken_back_nano if row.finished and not own else None,
        done=row.finished and (own or row.witnessed_ns is not None),
    )
    return Found(running, row.lease_id, row.model, row.subject, row.payer)


def _machine(row: Any, ctx: Ctx, terms: Terms) -> Found:
    """A rented machine costs from its order to its proved end, whatever its lease does."""
    made = row.machine_id is not None and row.begun_ns is not None
    begun = row.begun_ns or 0
    until = row.ended_ns or _settled(row, ctx.clock.now_ns())
    running = Running(
        source=row.source,
        provider=row.cloud,
        gpus=row.gpus or 1,
        nano_hour=row.cost_nano_hour if made else 0,
        begun_ns=begun,
        until_ns=max(until, begun) if made else begun,
        done=row.ended_ns is not None,
    )
    return Found(running, row.lease_id, row.model, row.subject, row.payer)


def _stray(row: Any, ctx: Ctx, terms: Terms) -> Found:
    """A machine of ours that nobody works with costs all the same."""
    running = Running(
        source=f"stray/{row.source}",
        provider=row.cloud,
        gpus=1,
        nano_hour=row.cost_nano_hour,
        begun_ns=row.begun_ns,
        until_ns=max(row.ended_ns or ctx.clock.now_ns(), row.begun_ns),
        done=row.ended_ns is not None,
    )
    return Found(running, "", "", "", None)


FOUND: Mapping[Any, Callable[[Any, Ctx, Terms], Found]] = {
    _leases: _lease,
    _machines: _machine,
    _strays: _stray,
}


def _settled(row: Any, until_ns: int) -> int:
    """Up to where it is known who used a lease: its requests' windows are posted. Costs wait for
    that ten minutes at most."""
    if row.finished or row.ready_ns is None or row.mode == "pod":
        return until_ns
    known: int = max(row.settled_ns, row.ready_ns, until_ns - WAIT_NS)
    return min(until_ns, known)


async def _grown(tx: Tx, ctx: Ctx, terms: Terms, found: Found) -> bool:
    running = found.running
    row = await store.cursor(tx, running.source)
    if row.done or (not running.done and running.until_ns - row.until_ns < FRESH_NS):
        return False
    fresh = list(core.stretches(running, store.known(row)))
    for stretch in fresh:
        if terms.recorder.enabled:
            await store.grow(tx, await _rows(tx, ctx, terms, found, stretch))
        else:
            row.skipped_nano += stretch.nano
    row.recorded_nano += sum(one.nano for one in fresh)
    whole = len(fresh) < core.HOURS_MAX
    row.until_ns = max(row.until_ns, running.until_ns if whole else fresh[-1].until_ns)
    row.done = running.done and whole
    return bool(fresh)


async def _rows(
    tx: Tx, ctx: Ctx, terms: Terms, found: Found, stretch: Stretch
) -> list[dict[str, object]]:
    used = {}
    if found.lease_id:
        used = dict(await store.used(tx, found.lease_id, stretch.from_ns, stretch.until_ns))
    return [
        {
            "id": ctx.ids.new(CostId),
            "kind": "gpu",
            "provider": found.running.provider,
            "model": found.model,
            "unit": "gpu_ms",
            "units": part.gpu_ms,
            "cost_nano": part.nano,
            "who": _who(terms, AccountId(part.account) if part.account else found.payer),
            "created_at": _at(stretch.hour_ns),
            "subject": found.subject,
            "key_id": part.key_id,
            "source": found.running.source,
        }
        for part in core.parts(stretch, found.running.gpus, used)
        if part.nano or part.gpu_ms
    ]


def _who(terms: Terms, account: AccountId | None) -> str:
    if account is None or account == PLATFORM_ACCOUNT:
        return ""
    return terms.recorder.who(account)


def _at(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // NS, UTC)


async def _booked(ctx: Ctx, terms: Terms, after: str, halt: Callable[[], bool]) -> int:
    """Bookings that are costs as they stand: each has a row of its own, written once."""
    done = 0
    for read, made in ((store.stored, _volume), (store.fees, _fee)):
        at = after
        while not halt():
            async with ctx.db.begin() as tx:
                rows: Sequence[Any] = await read(tx, after=at, limit=PAGE)
                if terms.recorder.enabled:
                    await store.once(tx, [made(row, ctx, terms) for row in rows])
            done += len(rows)
            if len(rows) < PAGE:
                break
            at = rows[-1].id
    return done


def _volume(row: Any, ctx: Ctx, terms: Terms) -> dict[str, object]:
    own = row.provider in (None, PLATFORM_ACCOUNT)
    return {
        "id": ctx.ids.new(CostId),
        "kind": "storage",
        "provider": OWN if own else NODES,
        "model": "",
        "unit": "gib_s",
        "units": row.gib * row.seen_ns // NS,
        "cost_nano": row.earned_nano,
        "who": _who(terms, None if row.payer is None else AccountId(row.payer)),
        "created_at": _at(row.from_ns // core.HOUR_NS * core.HOUR_NS),
        "subject": row.volume_id,
        "key_id": "",
        "source": str(row.id),
    }


def _fee(row: Any, ctx: Ctx, terms: Terms) -> dict[str, object]:
    """A top-up's: the processor keeps it."""
    return {
        "id": ctx.ids.new(CostId),
        "kind": "payment",
        "provider": row.memo.removeprefix("Fee of ")[:60],
        "model": "",
        "unit": "fee",
        "units": 1,
        "cost_nano": int(row.nano),
        "who": "",
        "created_at": row.at.astimezone(UTC).replace(minute=0, second=0, microsecond=0),
        "subject": "",
        "key_id": "",
        "source": str(row.id),
    }
