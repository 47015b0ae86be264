"""Verbs of payouts: where a provider is paid, asking, the automatic run, a person's word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from brain import billing
from brain.marketplace import provider
from brain.payouts import core, store
from brain.payouts.core import Every
from brain.payouts.models import Payout, PayoutDestination
from brain.payouts.ports import Declined, Disburser, DisburserError, Disbursers
from brain.payouts.states import PAYOUT, PayoutEvent, PayoutState
from brain.plumbing import Ctx, Tx, audit, moves
from kernel.clock import NS
from kernel.errors import BadInput, Conflict, NotFound, Unavailable
from kernel.ids import AccountId, PayoutId
from kernel.money import Money

PAGE = 100
AGAIN_SECONDS = 3600  # after a payout of this period failed

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class PayoutTerms:
    """What wiring hands over. A method without a disburser is switched off."""

    disbursers: Disbursers = field(default_factory=Disbursers)
    every: Every = Every.WEEK
    matures_seconds: int = 604_800

    async def close(self) -> None:
        await self.disbursers.close()


@dataclass(frozen=True)
class Wish:
    """How a provider wants to be paid. ``address`` None: it is made for them (Stripe)."""

    method: str
    address: str | None
    currency: str
    automatic: bool


@dataclass(frozen=True)
class Registered:
    """``url``: where the owner completes the destination, if anything is left to do."""

    row: PayoutDestination
    url: str | None = None


def _disburser(terms: PayoutTerms, method: str) -> Disburser:
    found = terms.disbursers.pay.get(method)
    if found is None:
        known = ", ".join(sorted(terms.disbursers.pay)) or "none"
        raise BadInput(f"This installation does not pay by {method}; it has: {known}.")
    return found


async def register(ctx: Ctx, terms: PayoutTerms, account: AccountId, wish: Wish) -> Registered:
    """Say where a provider is paid. The processor is asked first; may be repeated. A payout that
    is under way goes where it was asked to go."""
    disburser = _disburser(terms, wish.method)
    async with ctx.db.begin() as tx:
        if await provider(tx, account) is None:
            raise Conflict("Become a provider first: POST /api/v1/provider.", code="no_provider")
        known = await store.destination(tx, account)
    if wish.currency not in disburser.currencies:
        can = ", ".join(sorted(disburser.currencies))
        raise BadInput(f"{wish.method} pays in: {can}.", param="currency")
    kept = known.address if known is not None and known.method == wish.method else None
    url, address = None, wish.address
    try:
        if wish.method in terms.disbursers.onboard:
            made = await terms.disbursers.onboard[wish.method].onboard(account, kept)
            address, url = made.address, made.url
        if not address:
            raise BadInput("Say where: the number of the wallet.", param="address")
        standing = await disburser.standing(address)
    except Declined as no:
        raise BadInput(no.detail, param="address", internal=no.internal) from no
    except DisburserError as away:
        raise _away(wish.method, away) from away
    now = ctx.clock.now()
    row = PayoutDestination(
        account_id=account,
        method=wish.method,
        address=address,
        currency=wish.currency,
        automatic=wish.automatic,
        ready=standing.ready,
        said=standing.said,
        checked_at=now,
        changed_at=now,
    )
    async with ctx.db.begin() as tx:
        await store.save_destination(tx, row)
        detail: audit.Detail = {"method": wish.method, "automatic": wish.automatic}
        await audit.record(tx, ctx, account, "payout.destination", account, detail)
    return Registered(row, url)


async def refresh(ctx: Ctx, terms: PayoutTerms, account: AccountId) -> PayoutDestination:
    """The destination as its processor sees it now."""
    async with ctx.db.begin() as tx:
        row = await store.destination(tx, account)
        if row is None:
            raise NotFound("You have no payout destination; PUT one here.")
    try:
        standing = await _disburser(terms, row.method).standing(row.address)
    except DisburserError as away:
        raise _away(row.method, away) from away
    row.ready, row.said, row.checked_at = standing.ready, standing.said, ctx.clock.now()
    async with ctx.db.begin() as tx:
        await store.checked(tx, row)
    return row


def _away(method: str, error: DisburserError) -> Unavailable:
    return Unavailable(
        f"{method} does not answer; try again in a minute.",
        internal=[error.detail, error.internal],
        retry_after=60,
    )


async def request(ctx: Ctx, terms: PayoutTerms, account: AccountId) -> Payout:
    """Ask for all that is payable. Of requests at once, one wins; the others are ``Conflict``."""
    try:
        row = await refresh(ctx, terms, account)
    except NotFound:
        raise Conflict("Say first where you are paid.", code="no_destination") from None
    if not row.ready:
        said = row.said or "its owner has something left to do there"
        raise Conflict(f"The destination cannot be paid yet: {said}", code="destination_not_ready")
    async with ctx.db.begin() as tx:
        payout = await _ask(tx, ctx, terms, row, automatic=False)
        await audit.record(
            tx, ctx, account, "payout.request", payout.payout_id, {"nano": payout.nano}
        )
    return payout


async def run_period(
    ctx: Ctx, terms: PayoutTerms, *, halt: Callable[[], bool] = lambda: False
) -> int:
    """Ask for a payout for every provider that wants them by itself and has enough; returns how
    many were asked for. May run any number of times at once. What fails is not tried again in the
    same period: its owner may ask."""
    asked, after = 0, ""
    async with ctx.db.begin() as tx:
        least = await billing.payout_minimum(tx, ctx.clock.now())
    while not halt():
        async with ctx.db.begin() as tx:
            page = await billing.owed_providers(tx, least, after=after, limit=PAGE)
        for account in page:
            asked += await _automatic(ctx, terms, account)
        if len(page) < PAGE:
            break
        after = page[-1]
    return asked


async def _automatic(ctx: Ctx, terms: PayoutTerms, account: AccountId) -> bool:
    """One provider's turn; what hinders it is told to nobody but the log."""
    period = core.period_of(ctx.clock.now(), terms.every)
    try:
        async with ctx.db.begin() as tx:
            row = await store.destination(tx, account)
            done = await store.of_period(tx, account, period)
        if row is None or not row.automatic or done or row.method not in terms.disbursers.pay:
            return False
        if not row.ready and not (await refresh(ctx, terms, account)).ready:
            return False
        async with ctx.db.begin() as tx:
            await _ask(tx, ctx, terms, row, automatic=True)
    except (Conflict, NotFound, Unavailable) as hindered:
        _log.info("payout_not_asked", account_id=account, why=hindered.detail)
        return False
    return True


async def _ask(
    tx: Tx, ctx: Ctx, terms: PayoutTerms, where: PayoutDestination, *, automatic: bool
) -> Payout:
    """Set the money aside and write the payout down, or ``Conflict``. The lock on the provider's
    earnings makes those who ask at once wait for each other."""
    account, now = where.account_id, ctx.clock.now()
    matures_ns = ctx.clock.now_ns() - terms.matures_seconds * NS
    owed = await billing.payable(tx, account, matures_ns, lock=True)
    period = core.period_of(now, terms.every)
    await _none_before(tx, ctx, account, period, terms)
    rate = await billing.currency_rate(tx, where.currency, now)
    least = await billing.payout_minimum(tx, now)
    minor = rate.minor_of(Money(owed.payable_nano))
    sum = rate.money_of(minor)
    if owed.payable_nano < least.nano or minor <= 0:
        raise Conflict(
            f"Of your earnings {Money(owed.payable_nano)} can be paid out now;"
            f" a payout has at least {least}.",
            code="nothing_payable",
        )
    payout = Payout(
        payout_id=ctx.ids.new(PayoutId),
        account_id=account,
        period=period,
        method=where.method,
        address=where.address,
        nano=sum.nano,
        amount_minor=minor,
        currency=rate.currency,
        rate_version=rate.version,
        nano_per_unit=rate.nano_per_unit,
        automatic=automatic,
        calls=0,
        looks=0,
        created_at=now,
        due_at=now,
    )
    await moves.create(tx, payout, PAYOUT, reason="the money is set aside", at=now)
    await billing.payout_asked(tx, ctx, account, payout.payout_id, sum)
    return payout


async def _none_before(
    tx: Tx, ctx: Ctx, account: AccountId, period: str, terms: PayoutTerms
) -> None:
    if (other := await store.under_way(tx, account)) is not None:
        raise Conflict(
            f"{other.payout_id} is still under way; wait until it is settled.",
            code="payout_under_way",
        )
    for row in await store.of_period(tx, account, period):
        if row.state != PayoutState.FAILED.value:
            until = core.span_of(period).until
            raise Conflict(
                f"You were paid in {period} already ({row.payout_id}); the next payout can be"
                f" asked for from {until:%Y-%m-%d} (UTC).",
                code="period_paid",
            )
        if row.settled_at and ctx.clock.now() < row.settled_at + timedelta(seconds=AGAIN_SECONDS):
            raise Conflict(
                f"{row.payout_id} failed ({row.state_reason}). Mend that, and ask again an hour"
                " after it failed.",
                code="failed_just_now",
            )


async def resolve(
    ctx: Ctx, actor: str, id: PayoutId, event: PayoutEvent, reason: str, reference: str | None
) -> Payout:
    """An administrator's word about a payout of which the processor's is not to be had: paid or
    failed, once, with the reason in the audit log."""
    async with ctx.db.begin() as tx:
        row = await store.get(tx, id, lock=True)
        if row is None:
            raise NotFound("There is no such payout.")
        if row.state != PayoutState.UNKNOWN.value:
            raise Conflict(
                f"Only a payout that is unknown is settled by hand; this one is {row.state}.",
            )
        row.reference = reference or row.reference
        await settle(tx, ctx, row, event, f"{actor}: {reason}"[:300])
        row.due_at = None
        await tx.flush()
        told: audit.Detail = {"event": event.value, "reason": reason, "reference": reference}
        await audit.record(tx, ctx, actor, "payout.resolve", id, told)
    return row


async def settle(tx: Tx, ctx: Ctx, row: Payout, event: PayoutEvent, reason: str) -> None:
    """Move a payout and, at its end, its money, in one transaction."""
    now = ctx.clock.now()
    await moves.move(tx, row, PAYOUT, event, reason=reason, at=now)
    sum = Money(row.nano)
    if event is PayoutEvent.PAY:
        await billing.payout_paid(tx, ctx, row.account_id, row.payout_id, sum)
    elif event is PayoutEvent.FAIL:
        await billing.payout_returned(tx, ctx, row.account_id, row.payout_id, sum)
    row.looks = 0
    if event in (PayoutEvent.PAY, PayoutEvent.FAIL):
        row.settled_at = now
    await tx.flush()
