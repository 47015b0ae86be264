"""Faults planted in the product itself, to see that the laws find them.

Each swaps one function of the product for a wrong one, in this process alone. A simulator that
does not find one of these would not find the real fault either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import update

from brain.adapters.clouds.lambda_ import LambdaCloud
from brain.adapters.clouds.runpod import RestRunPod
from brain.adapters.clouds.vast import VastCloud
from brain.clouds import Listing, Machine, Order
from brain.deployments import service
from brain.fleet import core as fleet_core
from brain.fleet import leases
from brain.fleet import store as fleet_store
from brain.fleet.models import FleetNode
from brain.provisioning import core, ending, ordering, turn
from kernel.clock import NS
from tests.sim.whole.beginning import LEASE_TTL_SECONDS

EARLY_NS = 15 * NS
CLOUDS = (RestRunPod, VastCloud, LambdaCloud)
Swap = tuple[object, str, Any]


def no_intent() -> list[Swap]:
    """The order is sent, but what was written down for it is rolled back."""
    real = ordering._write_order

    async def unwritten(tx: Any, own: Any, row: Any) -> Order:
        nested = await tx.begin_nested()
        order = await real(tx, own, row)
        await nested.rollback()
        await tx.refresh(row)
        return order

    return [(ordering, "_write_order", unwritten)]


def no_tag() -> list[Swap]:
    """Machines are made without a name by which they can be found again."""

    def untagged(real: Any) -> Any:
        async def create(self: Any, order: Order) -> Machine:
            made: Machine = await real(self, replace(order, tag=f"a-{order.tag[-20:]}"))
            return made

        return create

    return [(kind, "create", untagged(kind.create)) for kind in CLOUDS]


def old_listing() -> list[Swap]:
    """What a cloud listed once is believed for ever."""
    real = turn.Looks.listing

    async def first(self: Any, ctx: Any, cloud: Any, since_ns: int) -> tuple[Listing, int]:
        return await real(self, ctx, cloud, -(10**18))

    return [(turn.Looks, "listing", first)]


def early_terminated() -> list[Swap]:
    """An end that was asked for is written down as one that came."""
    return [(ending, "_proof", lambda *_: "its end was asked for")]


def stale_epoch() -> list[Swap]:
    """A node's epoch is given out again once its lease is over."""
    real = leases.close

    async def lowered(tx: Any, row: Any, *rest: Any) -> None:
        await real(tx, row, *rest)
        lower = update(FleetNode).where(FleetNode.node_id == row.node_id)
        await tx.execute(lower.values(epoch=FleetNode.epoch - 1))

    return [(leases, "close", lowered)]


def hasty_retry() -> list[Swap]:
    """An order of unknown outcome is repeated before it is proved to have made nothing."""
    return [(core, "settled_ns", lambda facts, lag_seconds: facts.ordered_ns)]


def early_free() -> list[Swap]:
    """GPUs are sold again while the agent may still work on them."""

    def half(lease: Any, since_ns: int | None, now_ns: int) -> bool:
        return bool(now_ns >= max(lease.renewed_ns, lease.opened_ns) + EARLY_NS)

    return [
        (fleet_core, "run_out", half),
        (fleet_store, "GRACE_NS", EARLY_NS - LEASE_TTL_SECONDS * NS),
    ]


def blind_silence() -> list[Swap]:
    """Time in which the brain itself was away counts as the nodes' silence, however many."""

    def all_at_once(nodes: Any, since_ns: int | None, now_ns: int) -> fleet_core.Silence:
        quiet = [n for n in nodes if now_ns - n.last_seen_ns >= fleet_core.SILENT_NS]
        fresh = sorted(n.node_id for n in quiet if n.silent_since_ns is None)
        return fleet_core.Silence(fallen=tuple(fresh))

    def unseen(node: Any, since_ns: int | None, now_ns: int) -> bool:
        return bool(now_ns - node.last_seen_ns >= fleet_core.SILENT_NS)

    return [(fleet_core, "silence", all_at_once), (fleet_core, "is_silent", unseen)]


def lost_guard() -> list[Swap]:
    """A stop takes the owner's limits with it."""
    real = service.ask_stop

    def forgetful(ctx: Any, row: Any, reason: str) -> None:
        real(ctx, row, reason)
        row.max_duration_seconds = row.price_max_nano = None

    return [(service, "ask_stop", forgetful)]


def billed_lost() -> list[Swap]:
    """A lease that was lost is billed to its close, as if it had been seen until then."""
    return [(leases, "_billed_as", lambda *_: leases.LeaseOutcome.GONE)]


def any_tag() -> list[Swap]:
    """Every machine with a tag of our kind is taken for this installation's."""

    def ours(installation_id: str, tag: str) -> Any:
        found = core._TAG.match(tag)
        if found is None:
            return None
        return core.Tag(core.IntentId(f"{core.IntentId.prefix}_{found[2]}"), int(found[3]))

    return [(core, "read_tag", ours)]


BREAKS: Mapping[str, Callable[[], list[Swap]]] = {
    made.__name__: made
    for made in (
        no_intent,
        no_tag,
        old_listing,
        early_terminated,
        stale_epoch,
        hasty_retry,
        early_free,
        blind_silence,
        lost_guard,
        billed_lost,
        any_tag,
    )
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The product with this fault in it; nothing at all for an empty name."""
    swaps = BREAKS[name]() if name else []
    before = [(place, attribute, getattr(place, attribute)) for place, attribute, _ in swaps]
    for place, attribute, wrong in swaps:
        setattr(place, attribute, wrong)
    try:
        yield
    finally:
        for place, attribute, right in before:
            setattr(place, attribute, right)
