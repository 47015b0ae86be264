"""The verbs: top up, call off, cards, refill rules. No transaction is open in a call outside."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from sqlalchemy.exc import IntegrityError

from brain.payments import core, store
from brain.payments.core import Priced
from brain.payments.desk import Desk, Processor
from brain.payments.models import AutoRefill, TopUp
from brain.payments.ports import (
    Away,
    Card,
    CardSetup,
    CredentialsRefused,
    PayerRefused,
    PaymentError,
)
from brain.payments.rates import exchange_of
from brain.payments.states import OPEN, TopUpEvent, TopUpState
from brain.payments.turn import call
from brain.plumbing import Ctx, Tx, work
from kernel.errors import BadInput, Conflict, GanglionError, LimitReached, NotFound, Unavailable
from kernel.ids import AccountId, TopUpId, WorkId
from kernel.money import Money

T = TypeVar("T")
PAGE = "page"
CARD = "card"


@dataclass(frozen=True)
class TopUpWish:
    """``payer``: a saved card's reference (None: the default one), or a phone's number."""

    account: AccountId
    amount: Money
    method: str
    payer: str | None = None
    automatic: bool = False


@dataclass(frozen=True)
class Payer:
    """Who pays, as the processor knows it, and as people do."""

    reference: str | None
    label: str
    customer: str | None


async def payer_for(ctx: Ctx, desk: Desk, wish: TopUpWish) -> Payer:
    """Look the payer up at the processor, before any transaction."""
    processor = desk.of_method(wish.method)
    if processor.keeper is None or wish.method not in {CARD, PAGE}:
        return Payer(wish.payer, wish.payer or "", None)
    customer = await customer_of(ctx, desk, wish.account)
    if wish.method == PAGE:
        return Payer(None, "", customer)
    card = _chosen(await cards(ctx, desk, wish.account), wish.payer)
    return Payer(card.reference, label_of(card), customer)


def _chosen(saved: list[Card], wanted: str | None) -> Card:
    for card in saved:
        if card.reference == wanted or (wanted is None and card.default):
            return card
    if wanted is not None:
        raise NotFound("You have no such card.", param="card")
    if saved:
        raise BadInput("Name one of your cards: none is the default.", param="card")
    raise Conflict(
        "You have no saved card. Add one, or pay on the processor's page.", code="no_card"
    )


def label_of(card: Card) -> str:
    return f"{card.brand} ending in {card.last4}"


async def open_topup(tx: Tx, ctx: Ctx, desk: Desk, wish: TopUpWish, payer: Payer) -> TopUp:
    """Write the top-up down. Its processor is called later, from its row alone: by who waits for
    it, else by the reconciler a little later."""
    processor = desk.of_method(wish.method)
    terms = desk.terms
    exchange = await exchange_of(tx, processor, ctx.clock.now())
    priced = core.priced(wish.amount, exchange, least=terms.least, most=terms.most)
    waiting, failed = await store.crowd(tx, wish.account, ctx.clock.now())
    if waiting >= terms.open_max:
        raise Conflict(
            f"{waiting} of your top-ups still wait: pay or cancel one first.", code="too_many_open"
        )
    if failed >= terms.failed_per_hour_max and not wish.automatic:
        raise LimitReached(
            "Too many of your top-ups were refused within an hour.", retry_after=3600
        )
    row = _row(ctx, desk, processor, wish, payer, priced)
    return await store.add(tx, row, "asked for" if not wish.automatic else "automatic refill")


def _row(
    ctx: Ctx, desk: Desk, processor: Processor, wish: TopUpWish, payer: Payer, priced: Priced
) -> TopUp:
    now = ctx.clock.now()
    return TopUp(
        topup_id=ctx.ids.new(TopUpId),
        account_id=wish.account,
        processor=processor.name,
        method=wish.method,
        amount_minor=priced.amount_minor,
        currency=priced.exchange.currency,
        credit_nano=priced.credit.nano,
        rate_nano=priced.exchange.nano_per_minor,
        rate_version=priced.exchange.version,
        customer=payer.customer,
        payer=payer.reference,
        payer_label=payer.label,
        automatic=wish.automatic,
        description=f"Ganglion credit, {priced.credit}",
        return_url=f"{desk.terms.public_url}/payments/done",
        hard=False,
        called_off=False,
        disputed=False,
        fee_bookings=0,
        failures=0,
        last_error="",
        created_at=now,
        expires_at=now + timedelta(hours=core.PAYER_HOURS_MAX),
        due_at=now if wish.automatic else now + core.HEAD_START,
    )


async def call_off(tx: Tx, ctx: Ctx, account: AccountId, topup_id: TopUpId) -> TopUp:
    """Its owner does not want it any more; what the processor took meanwhile is still credited."""
    row = await store.get(tx, topup_id, lock=True)
    if row is None or row.account_id != account:
        raise NotFound("There is no top-up with this id.")
    if TopUpState(row.state) not in OPEN:
        raise Conflict(f"This top-up is {row.state} already.")
    if not row.called_off:
        row.called_off = True
        await tx.flush()
        await work.nudge(tx, TopUp, topup_id, ctx.clock.now() + core.HEAD_START)
    return row


async def settle_by_hand(tx: Tx, ctx: Ctx, topup_id: TopUpId, reason: str) -> None:
    """A person looked at a parked top-up and did by hand what was to be done. Should its processor
    still say that it is paid as asked, it is credited then."""
    row = await store.get(tx, topup_id, lock=True)
    if row is None:
        raise NotFound("There is no top-up with this id.")
    if row.state != TopUpState.PARKED.value:
        raise Conflict(f"This top-up is {row.state}; only parked ones are settled by hand.")
    said = f"settled by hand: {reason}"
    await store.move_topup(tx, row, TopUpEvent.FAIL, said, ctx.clock.now())


async def customer_of(ctx: Ctx, desk: Desk, account: AccountId) -> str:
    """The account's customer at the processor that keeps cards; made once."""
    processor, keeper = desk.keeper()
    async with ctx.db.begin() as tx:
        known = await store.customer(tx, account, processor.name)
    if known is not None:
        return known
    made = await asked(keeper.customer(account))
    async with ctx.db.begin() as tx:
        await store.keep_customer(tx, account, processor.name, made, ctx.clock.now())
        known = await store.customer(tx, account, processor.name)
    assert known is not None, "kept above"
    return known


async def cards(ctx: Ctx, desk: Desk, account: AccountId) -> list[Card]:
    _, keeper = desk.keeper()
    customer = await customer_of(ctx, desk, account)
    return await asked(keeper.cards(customer))


async def add_card(ctx: Ctx, desk: Desk, account: AccountId, *, page: bool) -> CardSetup:
    """How a card is added: on the processor's page, or in ours with a client secret."""
    _, keeper = desk.keeper()
    customer = await customer_of(ctx, desk, account)
    back = f"{desk.terms.public_url}/payments/done" if page else None
    key = f"setup/{ctx.ids.new(WorkId)}"
    return await asked(keeper.setup(customer, key=key, return_url=back))


async def remove_card(ctx: Ctx, desk: Desk, account: AccountId, card: str) -> None:
    """Forget it; automatic refill by this card turns itself off first."""
    _, keeper = desk.keeper()
    customer = await customer_of(ctx, desk, account)
    async with ctx.db.begin() as tx:
        rule = await store.rule(tx, account, lock=True)
        if rule is not None and rule.enabled and rule.card == card:
            rule.enabled, rule.due_at = False, None
            rule.said = "its card was removed"
    await asked(keeper.remove(customer, card), missing="You have no such card.")


async def make_default(ctx: Ctx, desk: Desk, account: AccountId, card: str) -> None:
    """Top-ups and automatic refill take this card from now on."""
    _, keeper = desk.keeper()
    customer = await customer_of(ctx, desk, account)
    await asked(keeper.make_default(customer, card), missing="You have no such card.")
    found = _chosen(await cards(ctx, desk, account), card)
    async with ctx.db.begin() as tx:
        rule = await store.rule(tx, account, lock=True)
        if rule is not None and rule.card != card:
            rule.card, rule.card_label = card, label_of(found)
            rule.changed_at = ctx.clock.now()
            if rule.enabled:
                await tx.flush()
                await work.nudge(tx, AutoRefill, account, ctx.clock.now())


@dataclass(frozen=True)
class RefillWish:
    enabled: bool
    threshold: Money
    amount: Money
    day_max: Money
    month_max: Money
    card: str | None


async def set_refill(ctx: Ctx, desk: Desk, account: AccountId, wish: RefillWish) -> AutoRefill:
    """Opt in, change or opt out. The card is looked up now, so that a refill decides alone."""
    processor, _ = desk.keeper()
    core.priced(wish.amount, processor.exchange, least=desk.terms.least, most=desk.terms.most)
    if wish.day_max < wish.amount or wish.month_max < wish.day_max:
        raise BadInput(
            "A day's cap holds at least one refill, and a month's cap a day's.", param="day_max_usd"
        )
    customer = await customer_of(ctx, desk, account)
    saved = await cards(ctx, desk, account) if wish.enabled else []
    card = _chosen(saved, wish.card) if wish.enabled else None
    try:
        return await _keep_rule(ctx, processor.name, customer, account, wish, card)
    except IntegrityError:  # two first rules at once: the other is there now
        return await _keep_rule(ctx, processor.name, customer, account, wish, card)


async def _keep_rule(
    ctx: Ctx, processor: str, customer: str, account: AccountId, wish: RefillWish, card: Card | None
) -> AutoRefill:
    now = ctx.clock.now()
    async with ctx.db.begin() as tx:
        rule = await store.rule(tx, account, lock=True)
        if rule is None:
            rule = AutoRefill(account_id=account, card="", card_label="")
            tx.add(rule)
        rule.enabled = wish.enabled
        rule.threshold_nano = wish.threshold.nano
        rule.amount_nano = wish.amount.nano
        rule.day_max_nano = wish.day_max.nano
        rule.month_max_nano = wish.month_max.nano
        rule.processor, rule.customer = processor, customer
        if card is not None:
            rule.card, rule.card_label = card.reference, label_of(card)
        rule.said = "" if wish.enabled else "off"
        rule.changed_at = now
        rule.due_at = now if wish.enabled else None
        await tx.flush()
    return rule


async def asked(awaited: Awaitable[T], *, missing: str = "") -> T:
    """One call while a person waits: a processor's error as the person is told it."""
    try:
        return await call(awaited)
    except PaymentError as error:
        raise _told(error, missing) from error


def _told(error: PaymentError, missing: str) -> GanglionError:
    if isinstance(error, PayerRefused):
        return Conflict(error.detail, code=error.code, internal=error.internal)
    if isinstance(error, Away):
        return Unavailable(
            "The payment processor does not answer; try again in a moment.",
            internal=error.internal,
            retry_after=error.retry_after or 5,
        )
    if isinstance(error, CredentialsRefused):
        return Unavailable(
            "Payments are not set up right here; tell the operator.", internal=error.internal
        )
    if missing:
        return NotFound(missing, internal=error.internal)
    return Conflict("The payment processor refuses this.", internal=error.internal)
