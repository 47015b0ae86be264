"""Verbs on clouds' offers: look one up, enter it with a claim, record what became of it."""

from __future__ import annotations

from dataclasses import replace

from brain.clouds import CloudOffer
from brain.offers import store
from brain.offers.core import breaker
from brain.offers.core.breaker import Outcome, OutcomeKind, Scope, place_of
from brain.offers.core.history import Tally, counted
from brain.plumbing import Tx
from kernel.clock import NS
from kernel.errors import NoCapacity


async def offer(tx: Tx, cloud: str, key: str) -> CloudOffer | None:
    """The offer as its cloud tells it now; None when it is gone."""
    row = await store.offer(tx, cloud, key)
    return None if row is None else store.told(row)


async def admit(tx: Tx, cloud: str, key: str, *, now_ns: int) -> CloudOffer:
    """The offer, for one attempt that begins with the caller's transaction.

    Raises ``NoCapacity`` when it is gone, blocked, or tried by another right now: plan again.
    Where a block's rest is over this attempt becomes its one probe, until an outcome of the place
    is recorded (or for half an hour). Call it before anything of money is locked.
    """
    found = await store.offer(tx, cloud, key)
    if found is None:
        raise NoCapacity(f"{cloud} does not offer this any more.")
    place = Scope(cloud, found.region, found.gpu_name, found.host, key)
    blocks = await store.blocks_over(tx, place)
    shut = breaker.barred(blocks, now_ns)
    if shut is not None:
        raise NoCapacity(why_barred(shut, now_ns))
    for probe in breaker.to_probe(blocks, now_ns):
        await store.save_block(tx, probe)
    return store.told(found)


async def record(tx: Tx, outcome: Outcome, now_ns: int) -> None:
    """Keep what became of an attempt: it is counted, and blocks follow from it.

    Each attempt may be told twice or more: accepted, then served or failed.
    """
    place = place_of(outcome)
    await _count(tx, place, outcome, now_ns)
    own: dict[Scope, breaker.Block | None] = dict.fromkeys(breaker.scopes_of(outcome))
    for block in await store.blocks_over(tx, place):
        if block.scope in own and block.kind is outcome.kind:
            own[block.scope] = block
            continue
        then = breaker.after(block, outcome, now_ns)
        if then is None:
            await store.drop_block(tx, block)
        elif then != block:
            await store.save_block(tx, then)
    for scope, before in own.items():
        await store.save_block(tx, breaker.struck(before, scope, outcome, now_ns))


async def _count(tx: Tx, place: Scope, outcome: Outcome, now_ns: int) -> None:
    more = counted(outcome)
    if more != Tally():
        spot = replace(place, offer_key=breaker.ANY)
        await store.ensure_tally(tx, spot, now_ns)
        known = await store.tally(tx, spot)
        assert known is not None, "made above"
        tally, counted_ns = known
        await store.save_tally(tx, spot, tally.faded(now_ns - counted_ns) + more, now_ns)
    if outcome.kind is OutcomeKind.SERVED and outcome.model:
        await store.keep_model(tx, place, outcome.model, now_ns)


def why_barred(block: breaker.Block, now_ns: int) -> str:
    """Why a place is shut, and when it is tried again."""
    if block.probing(now_ns) and not block.rests(now_ns):
        return f"{block.reason} One attempt tries it now; others wait for what becomes of it."
    seconds = -((now_ns - block.until_ns) // NS)
    return f"{block.reason} It is tried again in {seconds} s."
