"""Automatic refill: rules that are on are looked at every few seconds, each by one process.

One top-up at a time: a partial unique index keeps it where everything else fails.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from sqlalchemy.exc import IntegrityError

from brain import billing
from brain.payments import core, service, store
from brain.payments.core import Rule
from brain.payments.desk import Desk
from brain.payments.models import AutoRefill
from brain.payments.service import Payer, TopUpWish
from brain.payments.turn import log
from brain.plumbing import Ctx, Tx, work
from kernel.errors import GanglionError
from kernel.ids import AccountId, WorkId
from kernel.money import Money

LOOK_SECONDS = 10
HOLD_SECONDS = 60
BATCH = 200


async def reconcile_refills(
    ctx: Ctx, desk: Desk, *, owner: str = "", halt: Callable[[], bool] = lambda: False
) -> int:
    """Begin the automatic top-ups that are due; how many began."""
    token = str(ctx.ids.new(WorkId))
    async with ctx.db.begin() as tx:
        rows = await work.take(
            tx,
            AutoRefill,
            now=ctx.clock.now(),
            owner=owner,
            token=token,
            lease_seconds=HOLD_SECONDS,
            limit=BATCH,
            where=[AutoRefill.enabled],
        )
    began = 0
    for row in rows:
        if halt():
            break
        try:
            async with ctx.db.begin() as tx:
                began += await _one(tx, ctx, desk, row.account_id, token)
        except IntegrityError:
            log.info("refill_raced", account_id=row.account_id)
        except GanglionError as hindered:  # such as too many that wait: again in a minute
            log.info("refill_waits", account_id=row.account_id, why=hindered.detail)
        except Exception as failure:  # the other accounts go on; the hold runs out by itself
            log.error("refill_failed", account_id=row.account_id, exc_info=failure)
    return began


async def _one(tx: Tx, ctx: Ctx, desk: Desk, account: AccountId, token: str) -> bool:
    row = await store.rule(tx, account, lock=True)
    assert row is not None, "rules are never deleted"
    now = ctx.clock.now()
    if not row.enabled or desk.named(row.processor) is None:
        row.due_at = None if not row.enabled else now + timedelta(minutes=10)
        return False
    free = Money((await billing.balances(tx, [account]))[account].free)
    tried = await store.tried(tx, account)
    spent = await store.spent_by_itself(tx, account, now)
    decided = core.refill(rule_of(row), free, tried, spent, now)
    row.said = decided.why
    if decided.off:
        row.enabled = False
        log.info("refill_off", account_id=account, why=decided.why)
    if decided.go:
        await service.open_topup(tx, ctx, desk, _wish(row), _payer(row))
    await tx.flush()
    again = None if decided.off else now + timedelta(seconds=LOOK_SECONDS)
    await work.finish(tx, row, token, due_at=again)
    return decided.go


def rule_of(row: AutoRefill) -> Rule:
    return Rule(
        threshold=Money(row.threshold_nano),
        amount=Money(row.amount_nano),
        day_max=Money(row.day_max_nano),
        month_max=Money(row.month_max_nano),
        card=row.card or None,
    )


def _wish(row: AutoRefill) -> TopUpWish:
    return TopUpWish(row.account_id, Money(row.amount_nano), service.CARD, row.card, automatic=True)


def _payer(row: AutoRefill) -> Payer:
    return Payer(row.card, row.card_label, row.customer)
