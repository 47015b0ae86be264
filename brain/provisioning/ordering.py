"""From the wish to a known machine: write the tag down, call, and look before calling again.

A row found in CREATING was left by a crash, or its call's outcome is not known: the cloud is
asked for the tag, and nothing is ordered anew before the order is proved to have made nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from brain import marketplace, offers
from brain.clouds import (
    Broke,
    Cloud,
    CloudError,
    CloudRefused,
    CredentialsRefused,
    Machine,
    NothingFree,
    Order,
    Throttled,
)
from brain.fleet import end_rented, retire_rented
from brain.offers import OutcomeKind
from brain.plumbing import Tx
from brain.provisioning import agentless, core, store
from brain.provisioning.boot import boot
from brain.provisioning.core import at_of
from brain.provisioning.models import Intent
from brain.provisioning.outcomes import offer_of, outcome_of
from brain.provisioning.states import IntentEvent, IntentState
from brain.provisioning.strays import destroy_spares, end_spares
from brain.provisioning.turn import Saved, Turn, ask, lease_sight, note_account
from kernel.clock import NS
from kernel.ids import IntentId

NOTHING_MADE = (NothingFree, Throttled, CloudRefused, CredentialsRefused, Broke)
KINDS: dict[type[CloudError], OutcomeKind] = {
    NothingFree: OutcomeKind.NO_CAPACITY,
    Throttled: OutcomeKind.THROTTLED,
    CloudRefused: OutcomeKind.REFUSED,
    CredentialsRefused: OutcomeKind.CREDENTIALS,
    Broke: OutcomeKind.BROKE,
}
PUT_OFF_SECONDS_MAX = 60.0


@dataclass(frozen=True)
class Given:
    """Why an offer is given up, and what that says of it."""

    reason: str
    kind: OutcomeKind
    retry_after: float | None = None


async def plan(turn: Turn, intent_id: IntentId, saved: Saved) -> None:
    """PLANNED: order the machine, unless it is not wanted any more."""
    ctx, now_ns = turn.ctx, turn.ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        row = await _held(tx, intent_id)
        why = core.unwanted(await lease_sight(tx, row), now_ns)
        given = _given_up(turn, row, now_ns)
        if not why and given is None:
            order = await _write_order(tx, turn, row)
        else:
            given = given if not why else None
            await _drop(tx, turn, row, why or (given.reason if given else ""), given)
            await saved(tx, row, None)
            await ctx.reach("provisioning.drop_saving")
            return
        await ctx.reach("provisioning.order_writing")
    await ctx.reach("provisioning.order_written")
    await _order(turn, intent_id, order, saved)


def _given_up(turn: Turn, row: Intent, now_ns: int) -> Given | None:
    if row.cloud not in turn.clouds:
        return Given(f"{row.cloud} has no credentials in the settings", OutcomeKind.CREDENTIALS)
    if row.attempt >= core.ORDERS_MAX:
        return Given(f"{row.attempt} orders made nothing: {row.last_error}", OutcomeKind.REFUSED)
    if row.attempt and now_ns >= row.planned_ns + core.PLAN_SECONDS_MAX * NS:
        why = f"no order was taken within {core.PLAN_SECONDS_MAX} s: {row.last_error}"
        return Given(why, OutcomeKind.THROTTLED)
    return None


async def _write_order(tx: Tx, turn: Turn, row: Intent) -> Order:
    """Tag and join token, in the transaction before the call; without an agent there is none."""
    ctx, terms, cloud = turn.ctx, turn.terms, turn.clouds[row.cloud]
    now_ns = ctx.clock.now_ns()
    row.attempt += 1
    row.tag = core.tag_of(terms.installation_id, row.intent_id, row.attempt)
    row.boot_by_ns = now_ns + cloud.facts.boot_seconds_max * NS
    await store.move_intent(tx, row, IntentEvent.ORDER, f"order {row.attempt}", now_ns)
    offer = offer_of(row)
    if row.agentless:  # nobody there will ever join
        return await agentless.order_of(tx, turn, row, offer)
    token = core.join_token(terms.secret, row.intent_id, row.attempt)
    await marketplace.give_join_token(
        tx,
        row.node_id,
        token,
        now=ctx.clock.now(),
        expires_at=at_of(row.boot_by_ns + cloud.facts.listing_lag_seconds * NS),
        ids=ctx.ids,
    )
    return Order(
        tag=row.tag,
        offer=offer,
        boot=boot(
            brain_url=terms.brain_url,
            token=token,
            ttl_seconds=row.ttl_seconds,
            digest=terms.code_sha256,
            image=terms.boot_image,
        ),
        disk_gib=row.disk_gib,
        bid_nano=offer.price_nano if offer.spot else None,
    )


async def _order(turn: Turn, intent_id: IntentId, order: Order, saved: Saved) -> None:
    ctx, cloud = turn.ctx, turn.clouds[order.offer.cloud]
    machine, error = None, None
    try:
        machine = await ask(cloud.create(order))
    except CloudError as failed:
        error = failed
    await ctx.reach("provisioning.ordered")
    async with ctx.db.begin() as tx:
        row = await _held(tx, intent_id)
        await note_account(tx, ctx, row.cloud, error, rented=error is None)
        if machine is not None:
            await _found(tx, turn, row, machine, "the cloud made it")
            await saved(tx, row, 1.0)
        elif isinstance(error, NOTHING_MADE):
            await saved(tx, row, await _denied(tx, turn, row, error))
        else:
            assert error is not None, "no machine without a reason"
            _failed(row, error)
            await saved(tx, row, core.back_off_seconds(row.failures))
        await ctx.reach("provisioning.order_saving")
    await ctx.reach("provisioning.order_saved")


async def find(turn: Turn, intent_id: IntentId, saved: Saved) -> None:
    """CREATING with nobody at it: look for the tag."""
    ctx = turn.ctx
    async with ctx.db.begin() as tx:
        row = await _held(tx, intent_id)
    cloud = turn.clouds.get(row.cloud)
    assert row.tag is not None, "an order has a tag"
    await ctx.reach("provisioning.before_look_by_tag")
    begun_ns = ctx.clock.now_ns()
    machines: list[Machine] = []
    error = None
    try:
        if cloud is None:
            raise CredentialsRefused("it has no credentials in the settings")
        machines = core.oldest_first(await ask(cloud.find_by_tag(row.tag)))
    except CloudError as failed:
        error = failed
    await ctx.reach("provisioning.looked_by_tag")
    async with ctx.db.begin() as tx:
        row = await _held(tx, intent_id)
        if cloud is not None:
            await note_account(tx, ctx, row.cloud, error)
        seconds: float | None
        if error is not None:
            seconds = await _not_found_out(tx, turn, row, error)
        elif machines:
            await _found(tx, turn, row, machines[0], "found by its tag")
            await destroy_spares(tx, ctx, row, machines[1:])
            seconds = 0.0
        else:
            seconds = await _not_listed(tx, turn, row, cloud, begun_ns)
        await saved(tx, row, seconds)
        await ctx.reach("provisioning.find_saving")
    await ctx.reach("provisioning.find_saved")
    if cloud is not None:
        await end_spares(ctx, turn.terms, cloud, machines[1:])


async def _found(tx: Tx, turn: Turn, row: Intent, machine: Machine, how: str) -> None:
    ctx = turn.ctx
    now_ns = ctx.clock.now_ns()
    row.machine_id = machine.machine_id
    row.seen_state, row.seen_said = machine.state.value, machine.said[:300]
    if machine.cost_nano_hour is not None:
        row.cost_nano_hour = max(machine.cost_nano_hour, 0)
    row.failures, row.last_error = 0, ""
    row.missing_ns, row.missing_count = None, 0
    await ctx.reach("provisioning.adopting")
    await store.move_intent(tx, row, IntentEvent.FIND, f"{how}: {machine.machine_id}", now_ns)
    await offers.record(tx, outcome_of(row, OutcomeKind.ACCEPTED), now_ns)


async def _denied(tx: Tx, turn: Turn, row: Intent, error: CloudError) -> float | None:
    """The cloud said that nothing was made. Seconds until it is asked again; None: given up."""
    now_ns = turn.ctx.clock.now_ns()
    _failed(row, error)
    await store.move_intent(tx, row, IntentEvent.DENY, error.detail, now_ns)
    if isinstance(error, Throttled):
        if _given_up(turn, row, now_ns) is None:
            wait = max(error.retry_after, core.back_off_seconds(row.failures) / 2)
            return min(wait, PUT_OFF_SECONDS_MAX)
        given = Given(error.detail, OutcomeKind.THROTTLED, error.retry_after)
    else:
        given = Given(error.detail, KINDS[type(error)])
    await _drop(tx, turn, row, given.reason, given)
    return None


async def _not_found_out(tx: Tx, turn: Turn, row: Intent, error: CloudError) -> float:
    """Nobody can say whether there is a machine. Its place is given up in time; its row never."""
    _failed(row, error)
    now_ns = turn.ctx.clock.now_ns()
    if row.wanted and row.boot_by_ns is not None and now_ns >= row.boot_by_ns:
        why = f"the cloud does not tell what became of the order: {error.detail}"
        await _release(tx, turn, row, why, Given(why, OutcomeKind.BOOT_SLOW))
    return core.back_off_seconds(row.failures)


async def _not_listed(
    tx: Tx, turn: Turn, row: Intent, cloud: Cloud | None, begun_ns: int
) -> float | None:
    assert cloud is not None, "a cloud that is not there lists nothing"
    settled_ns = core.settled_ns(store.facts(row), cloud.facts.listing_lag_seconds)
    now_ns = turn.ctx.clock.now_ns()
    if begun_ns < settled_ns:
        left = (settled_ns - now_ns) / NS
        return min(max(left, 0.5), core.LOOK_SECONDS)
    row.failures = 0
    said = f"order {row.attempt} made nothing: it is not listed"
    await store.move_intent(tx, row, IntentEvent.MISS, said, now_ns)
    return 0.0


async def _drop(tx: Tx, turn: Turn, row: Intent, reason: str, given: Given | None) -> None:
    """PLANNED ends: nothing was made. ``given`` says what that tells of the offer."""
    assert row.state == IntentState.PLANNED.value, "nothing stands"
    await _release(tx, turn, row, reason, given)
    await store.move_intent(tx, row, IntentEvent.DROP, reason, turn.ctx.clock.now_ns())


async def _release(tx: Tx, turn: Turn, row: Intent, reason: str, given: Given | None) -> None:
    """Give the replica's place up: its lease ends unbilled, and another offer may be tried."""
    now_ns = turn.ctx.clock.now_ns()
    if row.wanted:
        kind = given.kind if given is not None else OutcomeKind.ABANDONED
        if row.agentless and kind is OutcomeKind.REFUSED:
            # It may be refused for what its owner asks, which is no fault of the offer's.
            kind = OutcomeKind.ABANDONED
            await agentless.ask_end(tx, turn, row, reason, failed=True)
        retry = given.retry_after if given is not None else None
        told = outcome_of(row, kind, detail=reason, retry_after=retry)
        await offers.record(tx, told, now_ns)
    row.wanted = False
    said = f"{row.cloud}: {reason}"
    await turn.ctx.reach("provisioning.releasing")
    await end_rented(tx, turn.watcher, row.lease_id, said, now_ns=now_ns)
    await retire_rented(tx, row.node_id, turn.ctx.clock.now())


def _failed(row: Intent, error: CloudError) -> None:
    row.failures += 1
    row.last_error = error.detail


async def _held(tx: Tx, intent_id: IntentId) -> Intent:
    row = await store.intent(tx, intent_id)
    assert row is not None, "an intent's row is never deleted"
    return row
