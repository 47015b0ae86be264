"""Accrual: a running lease's hold stays ahead of its burn; once an hour it is posted."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from brain.billing import caps
from brain.billing.core import books
from brain.billing.core.lease import COVER_NS, COVER_NS_MIN, POST_NS, Lease
from brain.billing.core.posting import Asset
from brain.billing.core.writing import Writing
from brain.billing.models import Hold
from brain.billing.service.grants import lift_stop, stop_account
from brain.billing.service.settle import stop_overdrawn
from brain.billing.store import holds, journal, leases
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Ctx, Tx
from kernel.ids import HoldId, LeaseId, TxId
from kernel.money import CARRY_DIVISOR

PAGE = 500

_log = structlog.get_logger()


@dataclass(frozen=True)
class Need:
    """What a running lease needs now. Nano-dollars: ``least`` and ``wanted`` in its hold."""

    least: int
    wanted: int
    post: bool


def need(lease: Lease) -> Need:
    """What is accrued and not posted, and the cover ahead of it."""
    # Rounded up: with any carry the charge is no more than that.
    units = lease.terms.renter_rate_nano * lease.unbilled_ticks(lease.evidence_ns)
    accrued = -(-units // CARRY_DIVISOR)
    start = lease.billed_ns if lease.billed_ns is not None else lease.load_from_ns
    hour = lease.ready_ns is not None and start is not None
    return Need(
        least=accrued + lease.cover(COVER_NS_MIN).nano,
        wanted=accrued + lease.cover(COVER_NS).nano,
        post=hour and lease.evidence_ns - (start or 0) >= POST_NS,
    )


async def accrue_due(ctx: Ctx) -> int:
    """Extend the holds of running leases, post what an hour has accrued, and stop the accounts
    that cannot cover the next minute. Returns how many leases needed something. May run any
    number of times at once. A lease that fails is logged and tried again next time."""
    after, done = "", 0
    while True:
        async with ctx.db.begin() as tx:
            page = await leases.accruing(tx, after=after, limit=PAGE)
        for row, hold_rest in page:
            try:
                if _needs(leases.view(row), hold_rest):
                    async with ctx.db.begin() as tx:
                        done += await _accrue(tx, ctx, row.lease_id)
            except Exception as error:  # of this lease alone: the others must not wait for it
                _log.exception("lease_not_accrued", lease_id=str(row.lease_id), error=repr(error))
        if len(page) < PAGE:
            return done
        after = page[-1][0].lease_id


def _needs(lease: Lease, hold_rest: int) -> bool:
    wanted = need(lease)
    short = lease.hold_id is not None and hold_rest < wanted.least
    return short or wanted.post


async def _accrue(tx: Tx, ctx: Ctx, id: LeaseId) -> int:
    row = await leases.take(tx, id)
    if row is None or row.closed_ns is not None:
        return 0
    lease = leases.view(row)
    names = books.bill_names(lease, PLATFORM_ACCOUNT) | {(lease.terms.payer, Asset.USD)}
    if not need(lease).post:
        await journal.lock_only(tx, names)
    else:
        views = await journal.lock(tx, names)
        writing = Writing(
            lease,
            {name: view.carry for name, view in views.items()},
            lambda: ctx.ids.new(TxId),
            PLATFORM_ACCOUNT,
        )
        writing.time(lease.evidence_ns)
        await journal.post_all(tx, writing.postings, ctx.clock.now())
        payer = books.carrier(lease, PLATFORM_ACCOUNT)
        await journal.save_carries(tx, {payer: writing.carries[payer]})
        leases.save(tx, row, writing, finished=False)
        lease = writing.lease
        await tx.flush()
        await stop_overdrawn(tx, ctx, {lease.terms.payer})
    if lease.hold_id is not None:
        reason = await _uncovered(tx, ctx, lease, lease.hold_id)
        if reason is not None:
            await stop_account(tx, ctx, lease.terms.payer, reason)
    return 1


async def _uncovered(tx: Tx, ctx: Ctx, lease: Lease, hold: HoldId) -> str | None:
    """Why the lease cannot go on; None where its hold is raised, or is enough."""
    row = await holds.get(tx, hold)
    assert row is not None, "a lease's hold is never deleted"
    rest, wanted = _open_part(row), need(lease)
    if rest >= wanted.least:
        return None
    payer = lease.terms.payer
    limit = await caps.tightest(tx, payer, ctx.clock.now())
    for more in (wanted.wanted - rest, wanted.least - rest):
        within = limit is None or more <= limit.left_nano
        if within and await holds.extend(tx, hold, payer, more):
            return None
    if limit is not None and wanted.least - rest > limit.left_nano:
        return f"its spending limit of the {limit.span} is reached"
    return "its credit does not cover the next minute of a running lease"


def _open_part(row: Hold) -> int:
    return row.amount - row.captured - row.released


async def release_due(ctx: Ctx) -> int:
    """Release slices that are given back, of a closed boot or past their deadline, once all that
    was used of them is settled. Returns how many. May run any number of times at once."""
    async with ctx.db.begin() as tx:
        found = await holds.releasable(tx, ctx.clock.now_ns(), PAGE)
        await journal.lock(tx, [(account, Asset.USD) for _, account in found])
        await holds.close(tx, [id for id, _ in found])
        for account in sorted({account for _, account in found}):
            await lift_stop(tx, ctx, account)
    return len(found)
