"""Reads the processors' own books: what no message told is found here, and proofs compare them."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select

from brain.payments import store
from brain.payments.desk import Desk, Processor
from brain.payments.models import TopUp
from brain.payments.ports import PaymentError, Statement
from brain.payments.turn import call, log
from brain.plumbing import Ctx, work

OVERLAP = timedelta(hours=1)  # lines may appear late
SPAN = timedelta(days=2)  # of one look
LOOKS_MAX = 30


async def sweep_payments(ctx: Ctx, desk: Desk) -> int:
    """Keep every processor's new lines and wake the top-ups that they belong to; how many lines
    were new. May run anywhere, any number of times at once."""
    found = 0
    for processor in desk.processors.values():
        if processor.statement is None:
            continue
        try:
            found += await _read(ctx, processor, processor.statement)
        except PaymentError as away:
            log.warning("statement_not_read", processor=processor.name, detail=away.detail)
    return found


async def _read(ctx: Ctx, processor: Processor, statement: Statement) -> int:
    found = 0
    for _ in range(LOOKS_MAX):
        now = ctx.clock.now()
        async with ctx.db.begin() as tx:
            mark = await store.cursor(tx, processor.name)
            first = await tx.scalar(
                select(func.min(TopUp.created_at)).where(TopUp.processor == processor.name)
            )
        begins = mark.read_until if mark is not None else first
        if begins is None:
            return found  # nothing was ever asked of it
        since = begins - OVERLAP
        until = min(since + SPAN, now + timedelta(seconds=1))
        lines = await call(statement.lines(since, until))
        async with ctx.db.begin() as tx:
            fresh = await store.keep_lines(
                tx, processor.name, lines, read_until=min(until, now), now=now
            )
            for payment in sorted(set(fresh)):
                topup_id = await store.named(tx, processor.name, payment)
                if topup_id is not None:
                    await work.nudge(tx, TopUp, topup_id, now)
        found += len(fresh)
        if until >= now:
            return found
    return found
