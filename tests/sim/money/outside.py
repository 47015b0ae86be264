"""What the processors did, held against the product's rows: taken, given back and sent once each;
a declining card is left alone for an hour; automatic refills stay within their caps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise

from brain.plumbing import Tx
from tests.sim.money.rows import rows
from tests.sim.money.world import DAY_MAX, MONTH_MAX, World

DECLINE_WAIT_SECONDS = 3600
SLACK_SECONDS = 5  # the wall clock may jump back, and the processor tells whole seconds
FOR_EVER = 10**30
GOING_BACK = frozenset({"pending", "requires_action", "succeeded"})
KEPT = frozenset({"created", "asked", "processing", "needs_payer", "paid", "parked"})


@dataclass(frozen=True)
class Finding:
    holds: bool
    law: str
    said: str


@dataclass(frozen=True)
class TopUpSeen:
    account: str
    processor: str
    amount_minor: int
    credit_nano: int
    state: str
    automatic: bool
    created_at: datetime


@dataclass(frozen=True)
class Books:
    """The product's rows, read once for all laws."""

    topups: Mapping[str, TopUpSeen]
    planned: Mapping[str, int]  # of our own refunds at all, in minor units, by processor
    standing: Mapping[str, int]  # of those that are said to have left us
    paid_out: int


async def look(tx: Tx, world: World, *, rest: bool) -> list[Finding]:
    """Every law; with ``rest`` those too that hold in the end alone."""
    books = await _read(tx)
    found = [*_taken(world, books), *_given_back(world, books), *_sent(world, books)]
    found += [*_patience(world, books), *_caps(books)]
    return [*found, *_ends(world, books)] if rest else found


async def _read(tx: Tx) -> Books:
    seen = await rows(
        tx,
        "SELECT topup_id, account_id, processor, amount_minor, credit_nano, state, automatic,"
        " created_at FROM topup",
    )
    sums = await rows(
        tx,
        "SELECT processor, sum(amount_minor)::bigint,"
        " coalesce(sum(amount_minor) FILTER (WHERE state = 'stands'), 0)::bigint"
        " FROM topup_reversal WHERE ours GROUP BY 1"
        " UNION ALL SELECT '', count(*), 0 FROM payout WHERE state = 'paid'",
    )
    refunds = {name: (planned, standing) for name, planned, standing in sums}
    paid_out, _ = refunds.pop("")
    return Books(
        {row[0]: TopUpSeen(*row[1:]) for row in seen},
        {name: planned for name, (planned, _) in refunds.items()},
        {name: standing for name, (_, standing) in refunds.items()},
        paid_out,
    )


def _succeeded(world: World) -> dict[str, int]:
    """What the processors took, by the top-up that they were told."""
    taken: dict[str, int] = {}
    for intent in world.stripe.table("payment_intent").values():
        if intent["status"] == "succeeded":
            topup = intent["metadata"].get("topup", "")
            taken[topup] = taken.get(topup, 0) + intent["amount_received"]
    for asked in world.outside.momo.paid("collection"):
        topup = str(asked.body["externalId"])
        taken[topup] = taken.get(topup, 0) + _cents(asked.body["amount"])
    return taken


def _refunded(world: World) -> dict[str, int]:
    """What went back or is on its way, by processor."""
    cards = [r for r in world.stripe.table("refund").values() if r["status"] in GOING_BACK]
    phones = [one for one in world.outside.momo.asked.values() if one.kind == "refund"]
    good = [one for one in phones if one.status(FOR_EVER) == "SUCCESSFUL"]
    return {
        "stripe": sum(int(row["amount"]) for row in cards),
        "momo": sum(_cents(one.body["amount"]) for one in good),
    }


def _cents(amount: str) -> int:
    return int(Decimal(amount) * 100)


def _taken(world: World, books: Books) -> Iterator[Finding]:
    """Nothing is credited that the processor did not take; nothing is taken twice."""
    taken = _succeeded(world)
    wanted = {id: one.amount_minor for id, one in books.topups.items()}
    twice = [id for id, sum_ in taken.items() if sum_ != wanted.get(id, 0)]
    yield Finding(not twice, "each top-up is taken once", f"of {twice} another sum was taken")
    void = [id for id, one in books.topups.items() if one.state == "paid" and id not in taken]
    yield Finding(not void, "only what was taken is credited", f"{void} was not taken")


def _given_back(world: World, books: Books) -> Iterator[Finding]:
    gone = _refunded(world)
    more = {name: sum_ for name, sum_ in gone.items() if sum_ > books.planned.get(name, 0)}
    said = f"{more} went back, {books.planned} was booked"
    yield Finding(not more, "no refund is made twice", said)


def _sent(world: World, books: Books) -> Iterator[Finding]:
    """What MoMo sent for each payout is what was asked, once."""
    asked = world.outside.momo.asked.values()
    sent = [a for a in asked if a.kind == "transfer" and a.status(FOR_EVER) == "SUCCESSFUL"]
    orders = [str(one.body.get("externalId")) for one in sent]
    doubled = len(orders) - len(set(orders))
    yield Finding(not doubled, "each payout is sent once", f"{doubled} were sent again")
    said = f"{books.paid_out} are said to be paid, {len(sent)} were"
    yield Finding(books.paid_out <= len(sent), "only what was sent counts as paid out", said)


def _patience(world: World, books: Books) -> Iterator[Finding]:
    """After a bank's no the card is not charged by itself for an hour."""
    tries: dict[str, list[tuple[int, bool]]] = defaultdict(list)
    intents = world.stripe.table("payment_intent")
    for charge in world.stripe.table("charge").values():
        topup = intents[charge["payment_intent"]]["metadata"].get("topup", "")
        row = books.topups.get(topup)
        if row is not None and row.automatic:
            tries[row.account].append((charge["created"], charge["status"] == "failed"))
    least = DECLINE_WAIT_SECONDS - SLACK_SECONDS
    hasty = [
        after - before
        for of_account in tries.values()
        for (before, refused), (after, _) in pairwise(sorted(of_account))
        if refused and after - before < least
    ]
    yield Finding(
        not hasty, "a declining card is tried once an hour", f"again after {hasty} seconds"
    )


def _caps(books: Books) -> Iterator[Finding]:
    """What is begun by itself in a UTC day and month is within what the owner allowed."""
    spent: dict[tuple[str, str], int] = defaultdict(int)
    for one in books.topups.values():
        if one.automatic and one.state in KEPT:
            for span in (f"{one.created_at:%Y-%m-%d}", f"{one.created_at:%Y-%m}"):
                spent[one.account, span] += one.credit_nano
    over = [
        (span, nano)
        for (_, span), nano in spent.items()
        if nano > (DAY_MAX if span.count("-") == 2 else MONTH_MAX).nano
    ]
    yield Finding(not over, "automatic refills stay within their caps", f"{over}")


def _ends(world: World, books: Books) -> Iterator[Finding]:
    """All that was taken is credited, and all that went back was booked."""
    paid = {id for id, one in books.topups.items() if one.state == "paid"}
    lost = sorted(set(_succeeded(world)) - paid)
    yield Finding(not lost, "all that was taken is credited in the end", f"{lost}")
    gone = _refunded(world)
    said = f"{gone} went back, {books.standing} stands in the books"
    same = all(sum_ == books.standing.get(name, 0) for name, sum_ in gone.items())
    yield Finding(same, "what went back is what was booked", said)
