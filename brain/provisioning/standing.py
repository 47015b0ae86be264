"""A machine that stands: its agent's first word, its worker's first answer, its end."""

from __future__ import annotations

from dataclasses import dataclass

from brain import offers
from brain.clouds import (
    Cloud,
    CloudError,
    CredentialsRefused,
    Listing,
    Machine,
    MachineMissing,
)
from brain.fleet import end_rented, retire_rented
from brain.offers import OutcomeKind
from brain.plumbing import Tx
from brain.provisioning import agentless, core, store
from brain.provisioning.core import Fault, Sight, Verdict
from brain.provisioning.models import Intent
from brain.provisioning.outcomes import outcome_of
from brain.provisioning.states import IntentEvent, IntentState
from brain.provisioning.strays import destroy_spares, end_spares
from brain.provisioning.turn import Saved, Turn, ask, lease_sight, note_account
from kernel.clock import NS
from kernel.ids import IntentId

# Where a crash would matter, by the state that the machine was found in.
BEFORE = {
    IntentState.BOOTING: "provisioning.boot_before_look",
    IntentState.ENROLLED: "provisioning.enrolled_before_look",
    IntentState.SERVING: "provisioning.serving_before_look",
}
LOOKED = {
    IntentState.BOOTING: "provisioning.boot_looked",
    IntentState.ENROLLED: "provisioning.enrolled_looked",
    IntentState.SERVING: "provisioning.serving_looked",
}
SAVING = {
    IntentState.BOOTING: "provisioning.boot_saving",
    IntentState.ENROLLED: "provisioning.enrolled_saving",
    IntentState.SERVING: "provisioning.serving_saving",
}
SAVED = {
    IntentState.BOOTING: "provisioning.boot_saved",
    IntentState.ENROLLED: "provisioning.enrolled_saved",
    IntentState.SERVING: "provisioning.serving_saved",
}
KINDS = {
    Fault.BOOT_FAILED: OutcomeKind.BOOT_FAILED,
    Fault.BOOT_SLOW: OutcomeKind.BOOT_SLOW,
    Fault.INTERRUPTED: OutcomeKind.INTERRUPTED,
}


@dataclass(frozen=True)
class Look:
    """What the cloud lists; nothing of it is known when there was an error."""

    machine: Machine | None = None
    spares: tuple[Machine, ...] = ()
    error: CloudError | None = None
    asked: bool = False
    listed_ns: int | None = None  # when the listing was begun that shows ``machine``


async def watch(turn: Turn, intent_id: IntentId, saved: Saved) -> None:
    """BOOTING, ENROLLED or SERVING: one look at the cloud and at the lease."""
    ctx = turn.ctx
    async with ctx.db.begin() as tx:
        row = await store.intent(tx, intent_id)
        assert row is not None, "an intent's row is never deleted"
        needless = bool(core.unwanted(await lease_sight(tx, row), ctx.clock.now_ns()))
    state = IntentState(row.state)
    await ctx.reach(BEFORE[state])
    look = Look() if needless else await look_at(turn, row)
    await ctx.reach(LOOKED[state])
    found = await agentless.addresses(turn, row, look.machine)
    async with ctx.db.begin() as tx:
        row = await store.intent(tx, intent_id)
        assert row is not None, "an intent's row is never deleted"
        if IntentState(row.state) not in BEFORE:  # another went on with it while the cloud was slow
            await saved(tx, row, 0)  # ``Stale``, unless it is ours all the same: then its next step
            return
        if look.asked:
            await note_account(tx, ctx, row.cloud, look.error)
        verdict = await _judge(tx, turn, row, look)
        agentless.keep_addresses(row, found, ctx.clock.now_ns())
        await destroy_spares(tx, ctx, row, look.spares)
        seconds = await _apply(tx, turn, row, look, verdict)
        await saved(tx, row, seconds)
        await ctx.reach(SAVING[state])
    await ctx.reach(SAVED[state])
    if look.spares:
        await end_spares(ctx, turn.terms, turn.clouds[row.cloud], look.spares)


async def look_at(turn: Turn, row: Intent, *, since_ns: int | None = None) -> Look:
    """The cloud's newest word of this machine; shared with whoever asks of the same cloud."""
    cloud = turn.clouds.get(row.cloud)
    if cloud is None:
        return Look(error=CredentialsRefused("it has no credentials in the settings"))
    if since_ns is None:
        serving = row.state == IntentState.SERVING.value
        age = core.WATCH_SECONDS if serving else core.LOOK_SECONDS
        since_ns = turn.ctx.clock.monotonic_ns() - age * NS
    try:
        listing, at_ns = await turn.looks.listing(turn.ctx, cloud, since_ns)
    except CloudError as error:
        return Look(error=error, asked=True)
    assert row.machine_id is not None, "a machine that stands is known"
    machine = core.found(listing, row.machine_id)
    spares = _spares(listing, row)
    lag = cloud.facts.listing_lag_seconds
    facts, now_ns = store.facts(row), turn.ctx.clock.now_ns()
    if machine is None and core.sight(facts, None, lag, now_ns) is Sight.GONE:
        machine, doubt = await _second_witness(cloud, row.machine_id)
        return Look(machine, spares, doubt, asked=True)
    return Look(machine, spares, asked=True, listed_ns=None if machine is None else at_ns)


async def _second_witness(
    cloud: Cloud, machine_id: str
) -> tuple[Machine | None, CloudError | None]:
    """A list that lacks a machine may be wrong: before that counts, the machine itself is asked
    for. None and no error: the cloud does not know it."""
    try:
        return await ask(cloud.machine(machine_id)), None
    except MachineMissing:
        return None, None
    except CloudError as error:
        return None, error


def _spares(listing: Listing, row: Intent) -> tuple[Machine, ...]:
    """Others with the very tag of this machine."""
    return tuple(m for m in listing.machines if m.tag == row.tag and m.machine_id != row.machine_id)


async def _judge(tx: Tx, turn: Turn, row: Intent, look: Look) -> Verdict:
    now_ns = turn.ctx.clock.now_ns()
    seen = take_in(turn, row, look, now_ns) if look.asked and look.error is None else None
    if look.error is not None:
        row.failures += 1
        row.last_error = look.error.detail
    sight = await lease_sight(tx, row)
    return core.judge(store.facts(row), sight, look.machine, seen, now_ns)


def take_in(turn: Turn, row: Intent, look: Look, now_ns: int) -> Sight:
    """Keep what a complete listing said of the machine."""
    lag = turn.clouds[row.cloud].facts.listing_lag_seconds
    machine = look.machine
    row.failures, row.last_error = 0, ""
    if machine is None:
        seen = core.sight(store.facts(row), None, lag, now_ns)
        if row.missing_ns is None and not core.unconfirmed(store.facts(row), lag, now_ns):
            row.missing_ns = now_ns
        return seen
    row.seen_ns, row.missing_ns, row.missing_count = now_ns, None, 0
    row.seen_state, row.seen_said = machine.state.value, machine.said[:300]
    if row.agentless:
        agentless.note_health(row, machine, now_ns)
    if machine.cost_nano_hour is not None:
        row.cost_nano_hour = max(machine.cost_nano_hour, 0)
    return core.sight(store.facts(row), machine, lag, now_ns)


async def _apply(tx: Tx, turn: Turn, row: Intent, look: Look, verdict: Verdict) -> float | None:
    ctx = turn.ctx
    now_ns = ctx.clock.now_ns()
    if verdict.end:
        await _give_up(tx, turn, row, verdict)
        return None if verdict.vanished else 0.0
    if core.runs(look.machine):
        await agentless.seen_alive(tx, turn, row, look.listed_ns)
    if verdict.enrolled:
        said = "its agent spoke and its GPUs joined the lease"
        said = "the cloud says that it runs" if row.agentless else said
        await store.move_intent(tx, row, IntentEvent.ENROL, said, now_ns)
        return 0.5
    if verdict.serving:
        said = "its lease is ready" if row.agentless else "its worker answers"
        await store.move_intent(tx, row, IntentEvent.SERVE, said, now_ns)
        await offers.record(tx, outcome_of(row, OutcomeKind.SERVED), now_ns)
    calm = row.state == IntentState.SERVING.value
    return float(core.CALM_SECONDS if calm else core.HEED_SECONDS)


async def _give_up(tx: Tx, turn: Turn, row: Intent, verdict: Verdict) -> None:
    """The machine is to go, or is gone: the lease ends first, so that another is tried. Where no
    agent ends the work by itself, it ends with the machine."""
    ctx = turn.ctx
    now_ns = ctx.clock.now_ns()
    if row.wanted:
        told = KINDS.get(verdict.fault)
        if told is None and row.serving_ns is None:
            told = OutcomeKind.ABANDONED
        if told is not None:
            await offers.record(tx, outcome_of(row, told, detail=verdict.end), now_ns)
    row.wanted = False
    await ctx.reach("provisioning.giving_up")
    if row.agentless and not verdict.vanished:
        await agentless.ask_end(tx, turn, row, verdict.end, failed=verdict.failed)
    else:
        said = f"{row.cloud}: {verdict.end}"
        await end_rented(tx, turn.watcher, row.lease_id, said, now_ns=now_ns)
    await ctx.reach("provisioning.lease_ended")
    await retire_rented(tx, row.node_id, ctx.clock.now())
    event = IntentEvent.VANISH if verdict.vanished else IntentEvent.END
    row.failures, row.missing_ns, row.missing_count = 0, None, 0
    await store.move_intent(tx, row, event, verdict.end, now_ns)
