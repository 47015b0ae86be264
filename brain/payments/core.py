"""Pure decisions: amounts, what a look at the processor means, when to look again, refills."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from brain.payments.ports import PaymentState, Reversal, ReversalKind, Seen
from brain.payments.states import OPEN, TopUpEvent, TopUpState
from kernel.errors import BadInput
from kernel.money import Money

ASK_HOURS_MAX = 20  # processors forget idempotency keys after 24 hours: never ask after that
PAYER_HOURS_MAX = 23  # a page or a card's question waits so long for its payer
DECLINE_WAIT = timedelta(hours=1)  # between two automatic tries after a refusal
DECLINES_MAX = 8  # in a row; then automatic refill turns itself off
PENDING_MAX = timedelta(days=2)  # after its payer's time was over
FEE_LOOKS_MAX = 12
HEAD_START = timedelta(seconds=5)  # of who waits for it, before the reconciler
UNSETTLED_SECONDS = 6 * 3600


@dataclass(frozen=True)
class Exchange:
    """What one minor unit of a currency is credited as. ``version`` is kept with each top-up."""

    currency: str
    nano_per_minor: int
    version: str


USD = Exchange("USD", 10_000_000, "usd")


@dataclass(frozen=True)
class Priced:
    """What the payer pays, and exactly what is credited for it."""

    amount_minor: int
    credit: Money
    exchange: Exchange


def priced(wanted: Money, exchange: Exchange, *, least: Money, most: Money) -> Priced:
    """The least whole minor units that cover ``wanted``; all that is paid is credited."""
    if not least <= wanted <= most:
        raise BadInput(f"Top up between {least} and {most}.", param="amount_usd")
    minor = -(-wanted.nano // exchange.nano_per_minor)
    return Priced(minor, Money(minor * exchange.nano_per_minor), exchange)


@dataclass(frozen=True)
class Standing:
    """A top-up's row, as decisions need it."""

    state: TopUpState
    amount_minor: int
    currency: str
    asked_at: datetime | None
    expires_at: datetime


@dataclass(frozen=True)
class Move:
    event: TopUpEvent
    reason: str
    hard: bool = False


def judge(own: Standing, seen: Seen, now: datetime) -> Move | None:
    """What the processor's word makes of the top-up; None: it stays as it is."""
    if seen.state is PaymentState.SUCCEEDED:
        if own.state is TopUpState.PAID:
            return None
        if (seen.amount_minor, seen.currency) != (own.amount_minor, own.currency):
            said = f"{seen.amount_minor} {seen.currency} came in place of"
            differs = f"{said} {own.amount_minor} {own.currency}"
            return None if own.state is TopUpState.PARKED else Move(TopUpEvent.PARK, differs)
        return Move(TopUpEvent.PAY, "the processor has the money")
    if own.state not in OPEN | {TopUpState.PARKED}:
        return None
    if seen.state is PaymentState.FAILED:
        return Move(TopUpEvent.FAIL, seen.reason or "It was refused.", not seen.retry_allowed)
    if lost := _lost(own, seen, now):
        return None if own.state is TopUpState.PARKED else Move(TopUpEvent.PARK, lost)
    if seen.state is PaymentState.NEEDS_PAYER and own.state is not TopUpState.NEEDS_PAYER:
        return Move(TopUpEvent.NEED, seen.reason or "The payer must act.")
    if seen.state is PaymentState.PENDING and own.state is not TopUpState.PROCESSING:
        return Move(TopUpEvent.PROCESS, "the processor works on it")
    return None


def _lost(own: Standing, seen: Seen, now: datetime) -> str:
    """Why a person should ask the processor; "" while it may yet come right by itself."""
    if seen.state is PaymentState.UNKNOWN and now >= own.expires_at:
        return "the processor knows nothing of it"
    if seen.state is PaymentState.PENDING and now >= own.expires_at + PENDING_MAX:
        return "the processor has worked on it for days"
    return ""


def asked_too_long_ago(own: Standing, now: datetime) -> bool:
    """Nobody knows what became of the call, and it may not be repeated any more."""
    return own.asked_at is not None and now >= own.asked_at + timedelta(hours=ASK_HOURS_MAX)


def look_again_seconds(state: TopUpState, age_seconds: float) -> float | None:
    """Hints come sooner; this is for when they do not. None: only a hint wakes it."""
    if state is TopUpState.ASKED:  # the processor does not know it yet
        return min(max(5.0, age_seconds / 4), 600)
    if state is TopUpState.PROCESSING:
        return min(max(2.0, age_seconds / 4), 600)
    if state is TopUpState.NEEDS_PAYER:
        return min(max(5.0, age_seconds / 8), 600)
    return UNSETTLED_SECONDS if state is TopUpState.PARKED else None


def follow_again_seconds(
    *, fee_known: bool, failures: int, unsettled: bool, looks: bool = True
) -> float | None:
    """When a paid top-up is looked at again: for its fee, and while something goes back."""
    if not fee_known and looks and failures < FEE_LOOKS_MAX:
        return float(min(5 * 2**failures, 6 * 3600))
    return UNSETTLED_SECONDS if unsettled else None


def follow_refund_seconds(age_seconds: float) -> float:
    """When a refund that is on its way back is looked at again, where it is looked at by itself."""
    return min(max(5.0, age_seconds / 4), 3600)


def backoff_seconds(failures: int) -> float:
    """2, 4, 8 ... seconds, ten minutes at most."""
    return float(min(600, 2 ** min(max(failures, 1), 10)))


def reversals_of(seen: Seen, reference: str, known: dict[str, int]) -> list[Reversal]:
    """What went back, by name. ``known``: refunds that stand, and our own from when they are
    planned, in minor units.

    An adapter that gives totals alone: what exceeds what we know is one more refund."""
    if seen.reversals or not seen.refunded_minor:
        return list(seen.reversals)
    more = seen.refunded_minor - sum(known.values())
    if more <= 0:
        return []
    name = f"{reference}/refunded/{seen.refunded_minor}"
    return [Reversal(name, ReversalKind.REFUND, more, stands=True)]


def refundable_minor(
    *, amount_minor: int, reversed_minor: int, free: Money, exchange: Exchange
) -> int:
    """What of a top-up may go back: not more than is left of it, and only what is unused."""
    unused = max(free.nano, 0) // exchange.nano_per_minor
    return max(0, min(amount_minor - reversed_minor, unused))


@dataclass(frozen=True)
class Rule:
    """What an account asked of automatic refill. Caps bound what is begun in a UTC day, month."""

    threshold: Money
    amount: Money
    day_max: Money
    month_max: Money
    card: str | None


@dataclass(frozen=True)
class Tried:
    """An earlier automatic top-up."""

    state: TopUpState
    credit: Money
    card: str | None
    hard: bool
    created_at: datetime
    ended_at: datetime


@dataclass(frozen=True)
class Spent:
    """What was begun by itself and was not refused, in the UTC day and month of now."""

    day: Money
    month: Money


@dataclass(frozen=True)
class Refill:
    """``go`` False: ``why`` it waits. ``off``: it needs its owner, and turns itself off."""

    go: bool
    why: str
    off: bool = False


def refill(
    rule: Rule, free: Money, tried: Collection[Tried], spent: Spent, now: datetime
) -> Refill:
    """Shall an automatic top-up begin now? ``tried``: the newest ones."""
    if free >= rule.threshold:
        return Refill(False, "there is enough credit")
    if rule.card is None:
        return Refill(False, "there is no saved card", off=True)
    if any(one.state in OPEN | {TopUpState.PARKED} for one in tried):
        return Refill(False, "one is on its way")
    newest = sorted(tried, key=lambda one: one.created_at, reverse=True)
    declines = _declines(newest, rule.card)
    if declines and declines[0].hard:
        return Refill(False, "the card was refused for good: save another card", off=True)
    if len(declines) >= DECLINES_MAX:
        return Refill(False, f"the card was refused {len(declines)} times", off=True)
    refused = [one.ended_at for one in newest if one.state is TopUpState.FAILED]
    if refused and now < max(refused) + DECLINE_WAIT:
        return Refill(False, "the last try was refused less than an hour ago")
    return _within_caps(rule, spent)


def _declines(newest: list[Tried], card: str) -> list[Tried]:
    """Refusals of this card since it last paid."""
    found: list[Tried] = []
    for one in newest:
        if one.state is TopUpState.PAID:
            break
        if one.state is TopUpState.FAILED and one.card == card:
            found.append(one)
    return found


def _within_caps(rule: Rule, spent: Spent) -> Refill:
    for name, begun, most in (
        ("day", spent.day, rule.day_max),
        ("month", spent.month, rule.month_max),
    ):
        if begun + rule.amount > most:
            return Refill(False, f"the {name}'s cap of {most} is reached")
    return Refill(True, "credit is below the threshold")


def day_of(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def month_of(now: datetime) -> datetime:
    return day_of(now).replace(day=1)
