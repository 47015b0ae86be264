"""Limits on what an account spends in a day or a month (UTC), kept where holds are made.

What was posted and what is held count together, so a limit is reserved before it is spent. Days
that are long over are summed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Date, Text, bindparam, delete, select
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from brain.billing.core.posting import Asset
from brain.billing.documents import UseKind
from brain.billing.store import journal
from brain.plumbing import Base, IdColumn, Tx
from kernel.ids import AccountId, TxId, uuid7
from kernel.money import Money

# A posting's id is born no longer than this before its time, and commits no later after it.
SLACK = timedelta(hours=1)


class Span(StrEnum):
    DAY = "day"
    MONTH = "month"


class SpendingLimit(Base):
    """The most that the account may spend in each day or month."""

    __tablename__ = "spending_limit"
    __table_args__ = (
        CheckConstraint("span IN ('day', 'month')", name="span"),
        CheckConstraint("limit_nano >= 0", name="limit"),
    )

    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId), primary_key=True)
    span: Mapped[str] = mapped_column(Text, primary_key=True)
    limit_nano: Mapped[int] = mapped_column(BigInteger)


class SpendingDay(Base):
    """What was spent on a day that is over: no posting can bear its date any more."""

    __tablename__ = "spending_day"

    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    nano: Mapped[int] = mapped_column(BigInteger)


_BY_DAY = sql(
    """
    SELECT (t.at AT TIME ZONE 'UTC')::date AS day, sum(-e.amount)::bigint AS nano
    FROM journal_entry e JOIN journal_tx t ON t.id = e.tx_id
    WHERE e.ledger_account = :account AND e.asset = 'USD' AND e.tx_id >= :since
      AND t.at >= :begins AND t.kind = ANY(:kinds)
    GROUP BY 1
    """
).bindparams(bindparam("kinds", type_=ARRAY(Text)))


@dataclass(frozen=True)
class Limited:
    """One limit, and what of it is spent, held, and left. Nano-dollars."""

    span: Span
    limit_nano: int
    spent_nano: int
    held_nano: int

    @property
    def left_nano(self) -> int:
        return max(0, self.limit_nano - self.spent_nano - self.held_nano)

    def sentence(self) -> str:
        return (
            f"The account's limit of {Money(self.limit_nano)} a {self.span} is reached:"
            f" {Money(self.spent_nano)} spent and {Money(self.held_nano)} set aside."
            f" Raise it with PUT /api/v1/billing/limits, or wait for the next {self.span}."
        )


async def set_limits(tx: Tx, account: AccountId, wanted: Mapping[Span, int | None]) -> None:
    """Replace these limits; None takes one away."""
    for span, nano in wanted.items():
        if nano is None:
            gone = delete(SpendingLimit).where(
                SpendingLimit.account_id == account, SpendingLimit.span == span.value
            )
            await tx.execute(gone)
            continue
        row = insert(SpendingLimit).values(account_id=account, span=span.value, limit_nano=nano)
        await tx.execute(
            row.on_conflict_do_update(
                index_elements=["account_id", "span"], set_={"limit_nano": nano}
            )
        )


async def limited(
    tx: Tx, account: AccountId, now: datetime, *, lock: bool = False
) -> list[Limited]:
    """The account's limits with what is left of each; none where it has none, which costs one
    look. ``lock``: its balance is locked, so that what is left stays so."""
    found = await tx.execute(
        select(SpendingLimit.span, SpendingLimit.limit_nano).where(
            SpendingLimit.account_id == account
        )
    )
    limits = {Span(row[0]): int(row[1]) for row in found}
    if not limits:
        return []
    if lock:
        await journal.lock_only(tx, [(account, Asset.USD)])
    held = (await journal.balances(tx, [account]))[account].held
    spent = await _spent(tx, account, now, monthly=Span.MONTH in limits)
    return [Limited(span, limits[span], spent[span], held) for span in Span if span in limits]


async def tightest(tx: Tx, account: AccountId, now: datetime) -> Limited | None:
    """The limit with the least left, its balance locked; None: the account has no limit."""
    found = await limited(tx, account, now, lock=True)
    return min(found, key=lambda one: one.left_nano, default=None)


async def _spent(tx: Tx, account: AccountId, now: datetime, *, monthly: bool) -> Mapping[Span, int]:
    today = now.astimezone(UTC).date()
    first = today.replace(day=1) if monthly else today
    known = await _known(tx, account, first) if monthly else {}
    begins = first
    while begins in known:
        begins += timedelta(days=1)
    fresh = await _sums(tx, account, begins)
    over = (now - SLACK).astimezone(UTC).date()  # days before this one are closed
    done = [begins + timedelta(days=n) for n in range((over - begins).days)]
    if monthly and done:
        await _remember(tx, account, {day: fresh.get(day, 0) for day in done})
    month = sum(known.values()) + sum(n for day, n in fresh.items() if day not in known)
    return {Span.DAY: fresh.get(today, 0), Span.MONTH: month}


async def _known(tx: Tx, account: AccountId, first: date) -> dict[date, int]:
    rows = await tx.execute(
        select(SpendingDay.day, SpendingDay.nano).where(
            SpendingDay.account_id == account, SpendingDay.day >= first
        )
    )
    return {row[0]: int(row[1]) for row in rows}


async def _sums(tx: Tx, account: AccountId, first: date) -> dict[date, int]:
    begins = datetime(first.year, first.month, first.day, tzinfo=UTC)
    born = uuid7(int((begins - SLACK).timestamp() * 1000), 0)
    values = {
        "account": account,
        "since": TxId.of(born),
        "begins": begins,
        "kinds": [kind.value for kind in UseKind],
    }
    return {row.day: int(row.nano) for row in await tx.execute(_BY_DAY, values)}


async def _remember(tx: Tx, account: AccountId, days: Mapping[date, int]) -> None:
    rows: Sequence[dict[str, object]] = [
        {"account_id": account, "day": day, "nano": nano} for day, nano in days.items()
    ]
    await tx.execute(insert(SpendingDay).values(rows).on_conflict_do_nothing())
