"""Brings rented machines to what their leases ask for, from the rows alone. Safe to run many
times at once; a tick only wakes it. No transaction is open while a cloud is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from sqlalchemy import select

from brain import fleet
from brain.clouds import Cloud
from brain.plumbing import Ctx, Tx, work
from brain.provisioning import ending, ordering, standing, store
from brain.provisioning.models import Intent
from brain.provisioning.states import IntentState
from brain.provisioning.turn import Looks, Saved, Stale, Terms, Turn, log
from brain.secrets import Vault
from kernel.clock import NS
from kernel.errors import Conflict
from kernel.ids import IntentId, WorkId

AT_ONCE = 8  # machines of one cloud worked on at a time
HOLD_SECONDS = 120  # a row is another's after this, should we die
PASS_SECONDS = 5  # no batch is begun later
BUSY_SECONDS = 1.0  # how long one look waits for slow clouds before it looks at the others again
RUN_SECONDS_MAX = 40
FAULT_SECONDS = 5
ROUNDS_MAX = 60  # looks for due rows in a pass

Step = Callable[[Turn, IntentId, Saved], Awaitable[None]]
STEPS: Mapping[IntentState, Step] = {
    IntentState.PLANNED: ordering.plan,
    IntentState.CREATING: ordering.find,
    IntentState.BOOTING: standing.watch,
    IntentState.ENROLLED: standing.watch,
    IntentState.SERVING: standing.watch,
    IntentState.TERMINATING: ending.end,
}


async def reconcile_intents(
    ctx: Ctx,
    clouds: Mapping[str, Cloud],
    terms: Terms,
    *,
    owner: str = "",
    watcher: fleet.LeaseWatcher | None = None,
    looks: Looks | None = None,
    vault: Vault | None = None,
    halt: Callable[[], bool] = lambda: False,
) -> int:
    """Step every intent that is due; return how many steps were made.

    A slow cloud keeps this call open for a while, but no other cloud waits for it. ``looks``,
    kept from call to call, saves listings. ``vault`` opens what a lease without an agent was given.
    """
    watching = watcher or fleet.NobodyWatches()
    turn = Turn(ctx, clouds, terms, watching, owner, looks or Looks(), vault)
    begun_ns = ctx.clock.monotonic_ns()
    running: dict[asyncio.Task[int], str] = {}
    steps, rounds = 0, 0
    try:
        while True:
            spent_ns = ctx.clock.monotonic_ns() - begun_ns
            limit = RUN_SECONDS_MAX if running else PASS_SECONDS
            if spent_ns < limit * NS and not halt() and rounds < ROUNDS_MAX:
                rounds += 1
                for name in await _due_clouds(turn) - set(running.values()):
                    running[asyncio.create_task(_batch(turn, name))] = name
            if not running:
                return steps
            done, _ = await asyncio.wait(
                running, timeout=BUSY_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                del running[task]
                steps += task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _due_clouds(turn: Turn) -> set[str]:
    now = turn.ctx.clock.now()
    free = Intent.work_until.is_(None) | (Intent.work_until <= now)
    async with turn.ctx.db.glance() as tx:
        found = await tx.scalars(select(Intent.cloud).where(Intent.due_at <= now, free).distinct())
        return set(found)


async def _batch(turn: Turn, cloud: str) -> int:
    """One batch of one cloud's intents, each on its own."""
    ctx = turn.ctx
    token = str(ctx.ids.new(WorkId))
    async with ctx.db.begin() as tx:
        rows = await work.take(
            tx,
            Intent,
            now=ctx.clock.now(),
            owner=turn.owner,
            token=token,
            lease_seconds=HOLD_SECONDS,
            limit=AT_ONCE,
            where=[Intent.cloud == cloud],
        )
        taken = [(row.intent_id, IntentState(row.state)) for row in rows]
    await ctx.reach("provisioning.taken")
    await asyncio.gather(*(_guarded(turn, i, state, token) for i, state in taken))
    return len(taken)


async def _guarded(turn: Turn, intent_id: IntentId, state: IntentState, token: str) -> None:
    """One step whose failure touches no other machine: it is logged, and the row is due again."""
    ctx = turn.ctx

    async def saved(tx: Tx, row: Intent, seconds: float | None) -> None:
        due = None if seconds is None else ctx.clock.now() + timedelta(seconds=seconds)
        await tx.flush()
        if not await work.finish(tx, row, token, due_at=due):
            raise Stale

    step = STEPS.get(state)
    if step is None:
        return  # it is over; nothing makes it due again
    try:
        await step(turn, intent_id, saved)
        return
    except Stale:
        log.info("step_was_late", row=intent_id)
        return
    except Conflict as raced:
        log.info("step_raced", row=intent_id, detail=raced.detail)
    except Exception as failure:  # whatever it is, the other machines go on
        log.error("step_failed", row=intent_id, failure=type(failure).__name__, exc_info=failure)
    await _again(turn, intent_id, token)


async def _again(turn: Turn, intent_id: IntentId, token: str) -> None:
    """Let go of a row whose step failed. Should this fail too, its hold runs out."""
    due = turn.ctx.clock.now() + timedelta(seconds=FAULT_SECONDS)
    try:
        async with turn.ctx.db.begin() as tx:
            row = await store.intent(tx, intent_id)
            if row is not None:
                await work.finish(tx, row, token, due_at=due)
    except Exception as failure:  # the database is away: the hold runs out by itself
        log.warning("row_not_released", row=intent_id, failure=type(failure).__name__)
