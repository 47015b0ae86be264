"""The end of a machine: asked for again and again, written down only when the cloud proves it."""

from __future__ import annotations

from brain.clouds import CloudError, CredentialsRefused, MachineMissing
from brain.fleet import end_rented
from brain.plumbing import Tx
from brain.provisioning import core, store
from brain.provisioning.core import Sight
from brain.provisioning.models import Intent
from brain.provisioning.standing import Look, look_at, take_in
from brain.provisioning.states import IntentEvent
from brain.provisioning.strays import destroy_spares
from brain.provisioning.turn import Saved, Turn, ask, note_account
from kernel.clock import NS
from kernel.ids import IntentId
from kernel.money import Money


async def end(turn: Turn, intent_id: IntentId, saved: Saved) -> None:
    """TERMINATING: ask for the end, then look whether it came. Never given up."""
    ctx = turn.ctx
    async with ctx.db.begin() as tx:
        row = await store.intent(tx, intent_id)
        assert row is not None, "an intent's row is never deleted"
    await ctx.reach("provisioning.before_terminate")
    asked = await _terminate(turn, row)
    await ctx.reach("provisioning.terminate_asked")
    _known(turn, row, asked)
    look = await look_at(turn, row, since_ns=ctx.clock.monotonic_ns())
    await ctx.reach("provisioning.terminate_looked")
    async with ctx.db.begin() as tx:
        row = await store.intent(tx, intent_id)
        assert row is not None, "an intent's row is never deleted"
        _known(turn, row, asked)
        if look.asked:
            await note_account(tx, ctx, row.cloud, look.error)
        await destroy_spares(tx, ctx, row, look.spares)
        gone = _proof(turn, row, asked, look)
        if gone:
            await _ended(tx, turn, row, gone)
            await saved(tx, row, None)
        else:
            await _alert(tx, turn, row)
            await saved(tx, row, core.back_off_seconds(row.failures))
        await ctx.reach("provisioning.end_saving")
    await ctx.reach("provisioning.end_saved")


async def _terminate(turn: Turn, row: Intent) -> CloudError | None:
    cloud = turn.clouds.get(row.cloud)
    if cloud is None:
        return CredentialsRefused("it has no credentials in the settings")
    assert row.machine_id is not None, "a machine that stands is known"
    try:
        await ask(cloud.terminate(row.machine_id))
    except CloudError as error:
        return error
    return None


def _known(turn: Turn, row: Intent, asked: CloudError | None) -> None:
    """A cloud that takes the order to end a machine knows it: from now on its absence says
    something, however new it is."""
    if asked is None and row.seen_ns is None:
        row.seen_ns = turn.ctx.clock.now_ns()


def _proof(turn: Turn, row: Intent, asked: CloudError | None, look: Look) -> str:
    """How the cloud says that the machine is gone; empty while it does not."""
    now_ns = turn.ctx.clock.now_ns()
    failures = row.failures + 1
    if look.asked and look.error is None:
        gone = take_in(turn, row, look, now_ns) is Sight.GONE
        row.failures = failures
        if asked is not None and not isinstance(asked, MachineMissing):
            row.last_error = asked.detail
        return "the cloud lists it no more" if gone else ""
    row.failures = failures
    row.last_error = (asked or look.error or CloudError("")).detail
    if not isinstance(asked, MachineMissing):
        return ""
    lag = turn.clouds[row.cloud].facts.listing_lag_seconds
    if row.missing_ns is None:
        row.missing_ns = now_ns
    row.missing_count += 1
    proved = core.gone_by_refusals(store.facts(row), lag, now_ns)
    return "the cloud does not know it, asked twice" if proved else ""


async def _ended(tx: Tx, turn: Turn, row: Intent, gone: str) -> None:
    now_ns = turn.ctx.clock.now_ns()
    if row.agentless:  # with an agent it ended when the machine was given up
        await end_rented(tx, turn.watcher, row.lease_id, f"{row.cloud}: {gone}", now_ns=now_ns)
    await store.move_intent(tx, row, IntentEvent.GONE, gone, now_ns)
    await store.close_alert(tx, f"intent {row.intent_id}", "terminating", now_ns)


async def _alert(tx: Tx, turn: Turn, row: Intent) -> None:
    """An end that takes long costs money: people are told, with what it cost so far."""
    now_ns = turn.ctx.clock.now_ns()
    since_ns = row.ending_ns or now_ns
    if now_ns < since_ns + core.ALERT_SECONDS * NS:
        return
    cost = Money(core.accrued_nano(row.cost_nano_hour, row.made_ns, now_ns))
    said = (
        f"Machine {row.machine_id} at {row.cloud} is to go for {(now_ns - since_ns) // NS} s and"
        f" is still there; it cost {cost} so far. {row.last_error}"
    )
    await store.raise_alert(tx, row.cloud, f"intent {row.intent_id}", "terminating", said, now_ns)
