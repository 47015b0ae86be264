"""Settlement: closed windows become shares, shares become money, and a closed lease its books.

One transaction per lease: the lease's row is locked (another process skips it), watermarks are
read before segments (so no segment that a watermark vouches for is missed), and segments, windows,
journal, carries and the lease's row are saved together. Dying anywhere changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import structlog

from brain.billing.core import books
from brain.billing.core.charge import Attempt, Prior
from brain.billing.core.coverage import closable_until
from brain.billing.core.lease import Lease
from brain.billing.core.pause import collector_paused
from brain.billing.core.window import Piece, Settlement, first_open_end, settle
from brain.billing.core.writing import Writing, shared
from brain.billing.models import MeterLease
from brain.billing.service.gateway import MeterPolicy
from brain.billing.service.grants import lift_stop, stop_account
from brain.billing.store import gateways, holds, journal, leases, segments
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Ctx, Tx
from kernel.clock import NS
from kernel.ids import AccountId, LeaseId, TxId

PAGE = 200
LANES = 2  # while the database saves one lease, the shares of another are computed
IDLE_NS = 60 * NS  # an idle lease's windows are closed no more often than this
DAY_NS = 86_400 * NS

_log = structlog.get_logger()


async def settle_due(ctx: Ctx, policy: MeterPolicy | None = None) -> int:
    """Close every window that can be closed, and the books of ended leases. Returns the number of
    windows posted. A lease that fails is logged and tried again next time. May run any number of
    times at once."""
    terms, after, posted = policy or MeterPolicy(), "", 0
    stale = ctx.clock.now_ns() - IDLE_NS
    while True:
        async with ctx.db.begin() as tx:
            page = await leases.due(tx, after=after, stale_ns=stale, limit=PAGE)
        lanes = (_settle_lane(ctx, page[lane::LANES], terms) for lane in range(LANES))
        posted += sum(await asyncio.gather(*lanes))
        if len(page) < PAGE:
            return posted
        after = page[-1]


async def _settle_lane(ctx: Ctx, page: Sequence[LeaseId], policy: MeterPolicy) -> int:
    posted = 0
    for lease in page:
        try:
            async with ctx.db.begin() as tx:
                posted += await _settle_lease(tx, ctx, lease, policy)
        except Exception as error:  # of this lease alone: the others must not wait for it
            _log.exception("lease_not_settled", lease_id=str(lease), error=repr(error))
    return posted


async def _settle_lease(tx: Tx, ctx: Ctx, id: LeaseId, policy: MeterPolicy) -> int:
    row = await leases.take(tx, id)
    if row is None:
        return 0
    lease = leases.view(row)
    until = await _closable(tx, ctx, lease, policy)
    waiting = await segments.unfolded(tx, id, limit=policy.pieces_max)
    if len(waiting.pieces) == policy.pieces_max:  # only what is wholly loaded can be closed
        # What is not loaded may be the evidence that what is loaded was alive.
        alive = await segments.alive_until(tx, id)
        lease = replace(lease, evidence_ns=max(lease.evidence_ns, alive))
        first = first_open_end(lease, waiting.pieces, policy.window_ns)
        whole = waiting.pieces[-1].start_ns
        if whole < first <= until:  # one window at least, however much lies in it
            waiting, whole = await segments.unfolded(tx, id, until_ns=first), first
        until = min(until, whole)
    pieces = {piece.key: piece for piece in waiting.pieces}
    late = [p for p in pieces.values() if p.open_ns < lease.settled_ns]
    seen = (
        await segments.accounted(tx, id, min(p.open_ns for p in late), lease.settled_ns)
        if late
        else []
    )
    with collector_paused():
        result = settle(
            lease, list(pieces.values()), until_ns=until, window_ns=policy.window_ns, accounted=seen
        )
    await _save(tx, ctx, row, result, pieces, dict(zip(pieces, waiting.days, strict=True)))
    return len(result.windows)


async def _closable(tx: Tx, ctx: Ctx, lease: Lease, policy: MeterPolicy) -> int:
    now = ctx.clock.now_ns()
    receiving = await gateways.receiving(tx, min(lease.settled_ns, now - DAY_NS))
    heard_since = receiving.back(policy.wait_ns)
    boots = await gateways.boots(tx, lease.terms.replica_id, heard_since)
    return closable_until(boots, receiving, now_ns=now, wait_ns=policy.wait_ns)


async def _save(
    tx: Tx,
    ctx: Ctx,
    row: MeterLease,
    result: Settlement,
    pieces: Mapping[str, Piece],
    days: Mapping[str, date],
) -> None:
    lease = leases.view(row)
    ending = (
        lease.closed_ns is not None and not row.finished and result.settled_ns >= lease.closed_ns
    )
    writing = Writing(lease, {}, lambda: ctx.ids.new(TxId), PLATFORM_ACCOUNT)
    touched = {pieces[key].account for key in result.foldings}
    if result.foldings or ending:
        history = await _history(tx, lease, result)
        with collector_paused():
            shares = shared(lease, result, history)
        # The many rows before the balances, which others wait for.
        await segments.fold(tx, lease.id, days, pieces, result.foldings)
        names = books.ledger_names(lease, touched) | books.bill_names(lease, PLATFORM_ACCOUNT)
        views = await journal.lock(tx, names)
        before = {name: view.carry for name, view in views.items()}
        writing.carries = dict(before)
        with collector_paused():
            writing.settlement(result, shares, history, finished=row.finished)
        if ending:
            writing.close()
        await journal.post_all(tx, writing.postings, ctx.clock.now())
        await journal.save_carries(
            tx, {name: c for name, c in writing.carries.items() if c != before[name]}
        )
        await segments.waive(tx, days, writing.waivers)
        await leases.add_windows(tx, lease.id, writing.windows, ctx.clock.now())
    else:
        writing.settlement(result, [], {}, finished=row.finished)
    leases.save(tx, row, writing, finished=row.finished or ending)
    if ending and lease.hold_id is not None:
        await holds.close(tx, [lease.hold_id])
    await tx.flush()
    if ending:
        await lift_stop(tx, ctx, lease.terms.payer)
    await stop_overdrawn(tx, ctx, touched | {lease.terms.payer} if ending else touched)


async def _history(tx: Tx, lease: Lease, result: Settlement) -> dict[Attempt, Prior]:
    """What posted windows gave the attempts that end here; only the pool asks."""
    if not lease.pooled:
        return {}
    ended = [p for window in result.windows for p in window.ended]
    return await segments.history(tx, lease.id, [*ended, *result.late_finals])


async def stop_overdrawn(tx: Tx, ctx: Ctx, accounts: set[AccountId]) -> None:
    """A capture books what was used and may cross the floor; then the account stops."""
    mine = sorted(accounts - {PLATFORM_ACCOUNT})
    if not mine:
        return
    for name, view in (await journal.balances(tx, mine)).items():
        if view.posted < holds.FLOOR_NANO:
            await stop_account(tx, ctx, AccountId(name), "its credit is used up")
