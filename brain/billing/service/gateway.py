"""What a gateway asks of the money room: hello, slices, and usage taken in once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError

from brain.billing import caps
from brain.billing.core.intake import Aside
from brain.billing.service import intake
from brain.billing.store import days, gateways, holds, journal, segments
from brain.plumbing import Ctx, Tx
from kernel.clock import NS
from kernel.errors import BadInput, Conflict, OutOfCredit
from kernel.ids import AccountId, HoldId
from kernel.wire.gateway import (
    Hello,
    HelloAnswer,
    ParkedPiece,
    SliceAnswer,
    SliceRequest,
    UsageAnswer,
    UsageBatch,
)

SLICE_LIFE_NS = 3600 * NS
SLICE_SHRINK = 4  # one slice takes at most a quarter of what is free, so that others find some
SLICE_NANO_MAX = 1000 * NS

_log = structlog.get_logger()


@dataclass(frozen=True)
class MeterPolicy:
    """The meter's figures of this installation."""

    window_seconds: int = 10
    close_seconds_max: int = 120
    installation_id: str = "unnamed"
    usage_days: int = 180  # usage of older days is dropped, and refused
    pieces_max: int = 20_000  # what one settlement of a lease loads, unless a window has more

    @property
    def window_ns(self) -> int:
        return self.window_seconds * NS

    @property
    def wait_ns(self) -> int:
        return self.close_seconds_max * NS


async def receiving_beat(ctx: Ctx) -> None:
    """The brain serves and its database answers: told once a second by every web process."""
    async with ctx.db.begin() as tx:
        await gateways.receiving_beat(tx, ctx.clock.now_ns())


async def hello(ctx: Ctx, message: Hello, policy: MeterPolicy) -> HelloAnswer:
    """Fix this boot's offset to brain time. A repeat of the same boot gets the same offset."""
    async with ctx.db.begin() as tx:
        now = ctx.clock.now_ns()
        offset = await gateways.hello(
            tx, message.boot_id, message.gateway, message.monotonic_ns, now
        )
    return HelloAnswer(
        installation_id=policy.installation_id,
        offset_ns=offset,
        window_seconds=policy.window_seconds,
    )


async def slice_asked(ctx: Ctx, asked: SliceRequest) -> SliceAnswer:
    """A durable hold to admit against: what is wanted, less as the balance shrinks.

    A repeat with the same id gets the same slice. Raises ``OutOfCredit`` below what is needed.
    """
    id, account = HoldId.parse(asked.slice_id), AccountId.parse(asked.account_id)
    if not asked.need_nano <= asked.want_nano <= SLICE_NANO_MAX:
        raise BadInput("Want at least what you need, and at most $1,000 a slice.", param="want")
    try:
        async with ctx.db.begin() as tx:
            known = await _slice(tx, id, asked)
            if known is not None:
                return known
            limit = await caps.tightest(tx, account, ctx.clock.now())
            if limit is not None and limit.left_nano < asked.need_nano:
                raise OutOfCredit(limit.sentence(), code="spending_limit")
            opening = _opening(ctx, id, account, asked)
            if limit is not None:
                opening = replace(opening, want_nano=min(opening.want_nano, limit.left_nano))
            granted = await holds.open_hold(tx, opening)
    except IntegrityError:  # the same request came twice at once, and the other was first
        granted = None
    async with ctx.db.begin() as tx:
        known = await _slice(tx, id, asked)
        if known is not None:
            return known
        view = (await journal.balances(tx, [account]))[account]
    assert granted is None, "a hold that was granted is there"
    raise OutOfCredit(
        "The account has not enough credit for this request. Add credit, then try again.",
        internal=f"{account} free {view.free} need {asked.need_nano}",
    )


def _opening(ctx: Ctx, id: HoldId, account: AccountId, asked: SliceRequest) -> holds.Opening:
    now = ctx.clock.now_ns()
    return holds.Opening(
        id=id,
        account=account,
        purpose="slice",
        want_nano=asked.want_nano,
        need_nano=asked.need_nano,
        now_ns=now,
        deadline_ns=now + SLICE_LIFE_NS,
        shrink=SLICE_SHRINK,
        boot_id=asked.boot_id,
    )


async def _slice(tx: Tx, id: HoldId, asked: SliceRequest) -> SliceAnswer | None:
    row = await holds.get(tx, id)
    if row is None:
        return None
    if row.account_id != asked.account_id or row.purpose != "slice":
        raise Conflict("This slice id belongs to another account; use a new one.")
    return SliceAnswer(slice_id=id, granted_nano=row.amount)


async def usage_reported(
    ctx: Ctx,
    batch: UsageBatch,
    policy: MeterPolicy | None = None,
    asides: Sequence[Aside] = (),
) -> UsageAnswer:
    """Take in a batch; returns after the commit, so the gateway may then forget it.

    May be repeated, in any order: a segment counts once by its key. What cannot be counted is
    parked with its reason, and so is each of ``asides``; the answer names them all. ``Conflict``
    (unknown_boot) asks the gateway to say hello again.
    """
    kept = (policy or MeterPolicy()).usage_days
    today = ctx.clock.now().date()
    wanted = {day for s in batch.segments if (day := _day(s.day)) is not None}
    await days.ensure(ctx, (day for day in wanted if days.taken(day, today, kept)))
    try:
        return await _reported(ctx, batch, asides, intake.take_in, kept)
    except DBAPIError as error:
        if not intake.refused(error):
            raise
    # One piece is what the database does not take, whatever it is: find it, and count the others.
    return await _reported(ctx, batch, asides, intake.take_in_parts, kept)


async def _reported(
    ctx: Ctx, batch: UsageBatch, asides: Sequence[Aside], take_in: intake.TakeIn, kept_days: int
) -> UsageAnswer:
    async with ctx.db.begin() as tx:
        now = ctx.clock.now_ns()
        boot = await gateways.lock_boot(tx, batch.boot_id)
        if boot is None:
            raise Conflict("This gateway boot is not known; say hello first.", code="unknown_boot")
        taken = await take_in(tx, batch.segments, intake.Times(ctx.clock.now(), now, kept_days))
        parked = [*taken.parked, *map(intake.set_aside, asides)]
        accepted = taken.counted + await segments.park(tx, parked, ctx.clock.now())
        sent_ns = batch.sent_monotonic_ns + boot.offset_ns
        if _states(batch) and sent_ns >= boot.stated_ns:
            await gateways.watermarks(
                tx,
                batch.boot_id,
                batch.watermarks,
                offset_ns=boot.offset_ns,
                stated_ns=sent_ns,
            )
        else:
            sent_ns = boot.stated_ns
        await gateways.seen(tx, batch.boot_id, seen_ns=max(now, boot.seen_ns), stated_ns=sent_ns)
        await gateways.close_boots(tx, batch.closed_boots)
        if batch.returns:
            await holds.returned(tx, [back.slice_id for back in batch.returns], now)
        near, life = now + SLICE_LIFE_NS // 2, now + SLICE_LIFE_NS
        await holds.prolong(tx, batch.boot_id, before_ns=near, deadline_ns=life)
    if parked:
        _log.warning("segments_parked", count=len(parked), first=parked[0].reason)
    return UsageAnswer(
        accepted=accepted,
        known=len(batch.segments) + len(asides) - accepted,
        parked=[ParkedPiece(one.key, one.reason) for one in parked],
    )


def _states(batch: UsageBatch) -> bool:
    """Is this batch a statement (see ``core.coverage``)? One that ships remains is none."""
    return bool(batch.watermarks) or not (batch.segments or batch.closed_boots)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
