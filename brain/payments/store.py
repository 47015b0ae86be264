"""All SQL of payments. Locks are taken in the order top-up, reversal, money."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert

from brain.payments.core import Spent, Standing, Tried, day_of, month_of
from brain.payments.models import (
    AutoRefill,
    PaymentCursor,
    PaymentCustomer,
    PaymentLine,
    TopUp,
    TopUpReversal,
)
from brain.payments.ports import Line
from brain.payments.states import (
    OPEN,
    REVERSAL,
    TOP_UP,
    ReversalEvent,
    ReversalState,
    TopUpEvent,
    TopUpState,
)
from brain.plumbing import Tx, move, moves
from kernel.ids import AccountId, RefundId, TopUpId
from kernel.money import Money

_OPEN = [state.value for state in OPEN]
_TAKEN = [state.value for state in OPEN | {TopUpState.PAID, TopUpState.PARKED}]
TRIED_MAX = 50
CROWD = 25  # of the locks of accounts, the one of counting their top-ups


async def add(tx: Tx, row: TopUp, reason: str) -> TopUp:
    return await moves.create(tx, row, TOP_UP, reason=reason, at=row.created_at)


async def get(tx: Tx, topup_id: TopUpId, *, lock: bool = False) -> TopUp | None:
    wanted = select(TopUp).where(TopUp.topup_id == topup_id)
    if lock:
        wanted = wanted.with_for_update()
    return await tx.scalar(wanted.execution_options(populate_existing=True))


async def move_topup(tx: Tx, row: TopUp, event: TopUpEvent, reason: str, at: datetime) -> None:
    await tx.flush()
    await move(tx, row, TOP_UP, event, reason=reason[:500], at=at)


def standing(row: TopUp) -> Standing:
    return Standing(
        state=TopUpState(row.state),
        amount_minor=row.amount_minor,
        currency=row.currency,
        asked_at=row.asked_at,
        expires_at=row.expires_at,
    )


async def named(tx: Tx, processor: str, reference: str) -> TopUpId | None:
    """The top-up that a processor's reference belongs to: a payment's or a page's."""
    found = await tx.scalar(
        select(TopUp.topup_id)
        .where(
            TopUp.processor == processor,
            or_(TopUp.reference == reference, TopUp.payment == reference),
        )
        .limit(1)
    )
    return None if found is None else TopUpId(found)


async def of_account(
    tx: Tx, account: AccountId | None, *, before: str | None, limit: int, state: str | None = None
) -> list[TopUp]:
    """Newest first; of all accounts with None."""
    wanted = select(TopUp).order_by(TopUp.topup_id.desc()).limit(limit)
    if account is not None:
        wanted = wanted.where(TopUp.account_id == account)
    if before is not None:
        wanted = wanted.where(TopUp.topup_id < TopUpId(before))
    if state is not None:
        wanted = wanted.where(TopUp.state == state)
    return list(await tx.scalars(wanted))


async def crowd(tx: Tx, account: AccountId, now: datetime) -> tuple[int, int]:
    """How many of the account's top-ups are open, and how many failed within the last hour. Until
    the transaction ends nobody else counts them: of those who ask at once each sees the others."""
    await tx.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(account, CROWD))))
    since = now - timedelta(hours=1)
    row = (
        await tx.execute(
            select(
                func.count().filter(TopUp.state.in_(_OPEN)),
                func.count().filter(
                    TopUp.state == TopUpState.FAILED.value, TopUp.state_at >= since
                ),
            ).where(TopUp.account_id == account)
        )
    ).one()
    return int(row[0]), int(row[1])


async def customer(tx: Tx, account: AccountId, processor: str) -> str | None:
    return await tx.scalar(
        select(PaymentCustomer.reference).where(
            PaymentCustomer.account_id == account, PaymentCustomer.processor == processor
        )
    )


async def keep_customer(
    tx: Tx, account: AccountId, processor: str, reference: str, at: datetime
) -> None:
    row = insert(PaymentCustomer).values(
        account_id=account, processor=processor, reference=reference, created_at=at
    )
    await tx.execute(row.on_conflict_do_nothing())


async def reversals(tx: Tx, topup_id: TopUpId, *, lock: bool = False) -> list[TopUpReversal]:
    wanted = select(TopUpReversal).where(TopUpReversal.topup_id == topup_id)
    wanted = wanted.order_by(TopUpReversal.refund_id)
    if lock:
        wanted = wanted.with_for_update()
    return list(await tx.scalars(wanted.execution_options(populate_existing=True)))


async def reversals_of(tx: Tx, ids: Collection[TopUpId]) -> dict[TopUpId, list[TopUpReversal]]:
    found: dict[TopUpId, list[TopUpReversal]] = {id: [] for id in ids}
    rows = await tx.scalars(
        select(TopUpReversal)
        .where(TopUpReversal.topup_id.in_(list(ids)))
        .order_by(TopUpReversal.refund_id)
    )
    for row in rows:
        found[row.topup_id].append(row)
    return found


async def reversal(tx: Tx, refund_id: RefundId, *, lock: bool = False) -> TopUpReversal | None:
    wanted = select(TopUpReversal).where(TopUpReversal.refund_id == refund_id)
    if lock:
        wanted = wanted.with_for_update()
    return await tx.scalar(wanted.execution_options(populate_existing=True))


async def add_reversal(tx: Tx, row: TopUpReversal) -> TopUpReversal:
    return await moves.create(tx, row, REVERSAL, reason=row.why[:500], at=row.created_at)


async def move_reversal(
    tx: Tx, row: TopUpReversal, event: ReversalEvent, reason: str, at: datetime
) -> None:
    await tx.flush()
    await move(tx, row, REVERSAL, event, reason=reason[:500], at=at)


def reversed_minor(rows: Sequence[TopUpReversal]) -> int:
    """What is away from a top-up, or on its way."""
    returned = ReversalState.RETURNED.value
    return sum(row.amount_minor for row in rows if row.state != returned)


async def rule(tx: Tx, account: AccountId, *, lock: bool = False) -> AutoRefill | None:
    wanted = select(AutoRefill).where(AutoRefill.account_id == account)
    if lock:
        wanted = wanted.with_for_update()
    return await tx.scalar(wanted.execution_options(populate_existing=True))


async def tried(tx: Tx, account: AccountId) -> list[Tried]:
    """The newest automatic top-ups, the newest first."""
    rows = await tx.scalars(
        select(TopUp)
        .where(TopUp.account_id == account, TopUp.automatic)
        .order_by(TopUp.topup_id.desc())
        .limit(TRIED_MAX)
    )
    return [
        Tried(
            state=TopUpState(row.state),
            credit=Money(row.credit_nano),
            card=row.payer,
            hard=row.hard,
            created_at=row.created_at,
            ended_at=row.state_at,
        )
        for row in rows
    ]


async def spent_by_itself(tx: Tx, account: AccountId, now: datetime) -> Spent:
    """What automatic top-ups of this day and month took, or may yet take."""
    row = (
        await tx.execute(
            select(
                func.coalesce(
                    func.sum(TopUp.credit_nano).filter(TopUp.created_at >= day_of(now)), 0
                ),
                func.coalesce(func.sum(TopUp.credit_nano), 0),
            ).where(
                TopUp.account_id == account,
                TopUp.automatic,
                TopUp.state.in_(_TAKEN),
                TopUp.created_at >= month_of(now),
            )
        )
    ).one()
    return Spent(Money(int(row[0])), Money(int(row[1])))


async def cursor(tx: Tx, processor: str) -> PaymentCursor | None:
    return await tx.scalar(
        select(PaymentCursor)
        .where(PaymentCursor.processor == processor)
        .execution_options(populate_existing=True)
    )


async def keep_lines(
    tx: Tx, processor: str, lines: Sequence[Line], *, read_until: datetime, now: datetime
) -> list[str]:
    """Keep a processor's lines and how far they go; the payments of those that are new."""
    fresh: list[str] = []
    for line in lines:
        row = insert(PaymentLine).values(
            processor=processor,
            reference=line.reference,
            kind=line.kind,
            amount_minor=line.amount_minor,
            fee_minor=line.fee_minor,
            currency=line.currency,
            payment=line.payment,
            at=line.at,
        )
        made = await tx.scalar(row.on_conflict_do_nothing().returning(PaymentLine.reference))
        if made is not None and line.payment is not None:
            fresh.append(line.payment)
    mark = insert(PaymentCursor).values(processor=processor, read_until=read_until, looked_at=now)
    await tx.execute(
        mark.on_conflict_do_update(
            index_elements=["processor"],
            set_={
                "read_until": func.greatest(PaymentCursor.read_until, mark.excluded.read_until),
                "looked_at": mark.excluded.looked_at,
            },
        )
    )
    return fresh
