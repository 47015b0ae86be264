"""Pure: periods, what a payout comes to, and what a look at a processor means for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from brain.payouts.ports import PaymentSight, PayoutOrder, Sight
from brain.payouts.states import PayoutEvent, PayoutState
from kernel.errors import BadInput

LOOK_SECONDS_MIN = 5
LOOK_SECONDS_MAX = 600
# A processor that keeps silent for so long makes the payout one that a person should look at.
SUBMITTING_SECONDS_MAX = 3600
SUBMITTED_SECONDS_MAX = 3 * 86_400

_MONTH = re.compile(r"(\d{4})-(\d{2})\Z")
_WEEK = re.compile(r"(\d{4})-W(\d{2})\Z")
_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})\Z")


class Every(StrEnum):
    """How often a provider is paid: once in each of these, by UTC."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True)
class Span:
    """[``since``, ``until``)"""

    since: datetime
    until: datetime


def period_of(at: datetime, every: Every) -> str:
    """The name of the period that ``at`` lies in: 2026-11, 2026-W47 or 2026-11-22."""
    day = at.astimezone(UTC).date()
    if every is Every.MONTH:
        return f"{day:%Y-%m}"
    if every is Every.DAY:
        return day.isoformat()
    year, week, _ = day.isocalendar()
    return f"{year:04d}-W{week:02d}"


def span_of(period: str) -> Span:
    """The time that a period's name stands for, or ``BadInput``."""
    try:
        if found := _MONTH.match(period):
            since = datetime(int(found[1]), int(found[2]), 1, tzinfo=UTC)
            return Span(since, (since + timedelta(days=32)).replace(day=1))
        if found := _WEEK.match(period):
            since = datetime.fromisocalendar(int(found[1]), int(found[2]), 1).replace(tzinfo=UTC)
            return Span(since, since + timedelta(days=7))
        if found := _DAY.match(period):
            since = datetime(int(found[1]), int(found[2]), int(found[3]), tzinfo=UTC)
            return Span(since, since + timedelta(days=1))
    except (ValueError, OverflowError):
        pass
    raise BadInput(
        "A period is a month (2026-11), a week (2026-W47) or a day (2026-11-22).", param="period"
    )


@dataclass(frozen=True)
class Facts:
    """A payout as its next step is decided by. Seconds since it entered its state, and since the
    processor was first called; ``calls``: those that may have done something."""

    state: PayoutState
    age_seconds: float
    called_seconds: float
    calls: int
    looks: int


@dataclass(frozen=True)
class Step:
    """What to do now. ``event`` None: it stays as it is. ``pay``: call the processor again.
    ``again_seconds`` None: it is over."""

    event: PayoutEvent | None = None
    reason: str = ""
    pay: bool = False
    again_seconds: int | None = None


def pause_seconds(looks: int) -> int:
    """5, 5, 10, 20 ... seconds, never more than 10 minutes."""
    return min(LOOK_SECONDS_MAX, LOOK_SECONDS_MIN << min(max(looks - 1, 0), 10))


def strange(sight: Sight, order: PayoutOrder) -> str:
    """Why this cannot be our order, as the processor tells it; "" where it can."""
    if sight.amount_minor is not None and sight.amount_minor != order.amount_minor:
        return f"the processor has {sight.amount_minor} where {order.amount_minor} was sent"
    if sight.currency is not None and sight.currency != order.currency:
        return f"the processor has {sight.currency[:8]} where {order.currency} was sent"
    return ""


def judge(facts: Facts, sight: Sight, order: PayoutOrder, repeat_seconds: int | None) -> Step:
    """What a look, or the answer of a call, means. Only the processor's own word settles a payout:
    a payout is never paid again because something was not found, unless a repeat is the same
    payment to the processor, and it never failed because nobody answered."""
    again = pause_seconds(facts.looks)
    if sight.state in (PaymentSight.PAID, PaymentSight.FAILED):
        if wrong := strange(sight, order):
            return _lost(facts, f"It is not clear what was paid: {wrong}.")
        if sight.state is PaymentSight.PAID:
            return Step(PayoutEvent.PAY, "the processor paid it")
        said = sight.reason or "without a reason"
        return Step(PayoutEvent.FAIL, f"the processor did not pay it: {said}"[:300])
    if sight.state is PaymentSight.PENDING and facts.state is PayoutState.SUBMITTING:
        return Step(PayoutEvent.ACCEPT, "the processor has it", again_seconds=LOOK_SECONDS_MIN)
    if sight.state is PaymentSight.ABSENT and facts.state is PayoutState.SUBMITTING:
        if repeat_seconds is None or facts.called_seconds < repeat_seconds:
            return Step(pay=True, again_seconds=again)
        return _lost(facts, "The processor knows nothing of it, and may not be asked again safely.")
    return silent(facts, f"The processor says that it is {sight.state.value}.")


def silent(facts: Facts, said: str) -> Step:
    """Nothing was learnt: look again, and after long enough say that nobody knows."""
    most = {
        PayoutState.SUBMITTING: SUBMITTING_SECONDS_MAX,
        PayoutState.SUBMITTED: SUBMITTED_SECONDS_MAX,
    }.get(facts.state)
    if most is not None and facts.age_seconds > most:
        return _lost(facts, said)
    return Step(reason=said, again_seconds=pause_seconds(facts.looks))


def _lost(facts: Facts, said: str) -> Step:
    event = None if facts.state is PayoutState.UNKNOWN else PayoutEvent.LOSE
    return Step(event, said[:300], again_seconds=LOOK_SECONDS_MAX)


def declined(facts: Facts, said: str) -> Step:
    """The answer to a call was no. After earlier calls whose outcome nobody saw, a no is not
    proof: those may have paid."""
    if facts.calls <= 1:
        return Step(PayoutEvent.FAIL, f"the processor refused it: {said}"[:300])
    return silent(facts, said)
