"""A lease on the meter: opened with cover, marked, seen alive, closed. Called by other rooms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from brain.billing import caps
from brain.billing.core.lease import (
    COVER_NS,
    COVER_NS_MIN,
    LeaseMark,
    LeaseMode,
    LeaseOutcome,
    LeaseTerms,
)
from brain.billing.core.posting import Asset
from brain.billing.store import gateways, holds, journal, leases, segments
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Tx
from kernel.clock import NS
from kernel.errors import OutOfCredit
from kernel.ids import DeploymentId, HoldId, Ids, LeaseId, ReplicaId
from kernel.money import CARRY_DIVISOR, HourlyRate, Money

HEARD_NS = 120 * NS
FOREVER_NS = 2**63 - 1  # a lease's hold ends with the lease


async def lease_opened(tx: Tx, terms: LeaseTerms, ids: Ids) -> None:
    """Put a lease on the meter. A dedicated lease needs a hold over its first minute.

    Raises ``OutOfCredit`` when the payer's free balance does not cover it (or it is stopped).
    A lease that is on the meter already is left as it is.
    """
    held = terms.mode != LeaseMode.POOL and terms.payer != PLATFORM_ACCOUNT
    hold = ids.new(HoldId) if held else None
    at = datetime.fromtimestamp(terms.opened_ns // NS, UTC)
    if await leases.insert(tx, terms, hold, at) and hold is not None:
        await _cover(tx, terms, hold)


async def _cover(tx: Tx, terms: LeaseTerms, hold: HoldId) -> None:
    await journal.lock_only(tx, [(terms.payer, Asset.USD)])
    rate = HourlyRate(terms.renter_rate_nano * terms.gpus)
    least = rate.ceiling_for_ns(COVER_NS_MIN)
    want = rate.ceiling_for_ns(COVER_NS).nano
    at = datetime.fromtimestamp(terms.opened_ns // NS, UTC)
    limit = await caps.tightest(tx, terms.payer, at)
    if limit is not None:
        if limit.left_nano < least.nano:
            raise OutOfCredit(limit.sentence(), code="spending_limit")
        want = min(want, limit.left_nano)
    opening = holds.Opening(
        id=hold,
        account=terms.payer,
        purpose="lease",
        want_nano=want,
        need_nano=least.nano,
        now_ns=terms.opened_ns,
        deadline_ns=FOREVER_NS,
        lease_id=terms.lease_id,
    )
    if await holds.open_hold(tx, opening) is None:
        if await holds.stopped(tx, terms.payer):
            raise OutOfCredit("The account is stopped for want of credit. Add credit first.")
        view = (await journal.balances(tx, [terms.payer]))[terms.payer]
        raise OutOfCredit(
            f"This needs {least} free for its first minute; the account has "
            f"{Money(max(0, view.free))} free. Add credit, then try again."
        )


async def lease_mark(tx: Tx, lease_id: LeaseId, mark: LeaseMark, at_ns: int) -> None:
    """A phase begins at ``at_ns``. The first word counts; may be repeated."""
    await leases.mark(tx, lease_id, LeaseMark(mark), at_ns)


async def lease_evidence(tx: Tx, seen: Mapping[LeaseId, int]) -> None:
    """These leases were seen alive at these times; an older time changes nothing."""
    if seen:
        await leases.evidence(tx, seen)


async def lease_closed(
    tx: Tx,
    lease_id: LeaseId,
    at_ns: int,
    outcome: LeaseOutcome | str,
    *,
    silence_ns: int | None = None,
) -> None:
    """The lease ends at ``at_ns``. ``LeaseOutcome.LOST`` (no evidence until it ran out) bills up
    to the last evidence only, and so does any end after ``silence_ns`` without evidence. The final
    bill follows from the ticks. May be repeated."""
    lost = outcome == LeaseOutcome.LOST
    since_ns = None if lost else at_ns - silence_ns if silence_ns is not None else 0
    await leases.close(tx, lease_id, at_ns, str(outcome), evident_since_ns=since_ns)


async def drained(tx: Tx, replica_id: ReplicaId, since_ns: int) -> bool:
    """Has every live gateway told, after ``since_ns``, that this replica drains there with nothing
    in flight (or that it has nothing of it)? A gateway that was not heard for the last two minutes
    in which the brain could receive is not live."""
    receiving = await gateways.receiving(tx, since_ns - 10 * HEARD_NS)
    heard_since = receiving.back(HEARD_NS)
    return not await gateways.undrained(tx, replica_id, since_ns, heard_since)


async def taken_up(tx: Tx, replica_id: ReplicaId, since_ns: int) -> bool:
    """Has every live gateway told, after ``since_ns``, that it knows this replica and may send to
    it? True where no gateway lives."""
    receiving = await gateways.receiving(tx, since_ns - 10 * HEARD_NS)
    return not await gateways.untold(tx, replica_id, since_ns, receiving.back(HEARD_NS))


async def in_flight(tx: Tx, replica_ids: Sequence[ReplicaId], now_ns: int) -> dict[str, int]:
    """Requests in flight on each replica, as live gateways last told; none where nobody did."""
    receiving = await gateways.receiving(tx, now_ns - 10 * HEARD_NS)
    return await gateways.in_flight(tx, replica_ids, receiving.back(HEARD_NS))


@dataclass(frozen=True)
class Spending:
    """What a deployment cost its owner until the last sign of life, and costs an hour now."""

    nano: int
    hourly_nano: int

    def in_seconds(self, seconds: int) -> int:
        return -(-self.hourly_nano * seconds // 3600)


async def spending(tx: Tx, deployment_id: DeploymentId) -> Spending:
    """Posted and accrued, of dedicated leases; rounded up."""
    nano, open_rows = await leases.spent(tx, deployment_id)
    running = [leases.view(row) for row in open_rows]
    accrued = sum(
        -(-lease.terms.renter_rate_nano * lease.unbilled_ticks(lease.evidence_ns) // CARRY_DIVISOR)
        for lease in running
    )
    hourly = sum(
        lease.terms.renter_rate_nano * lease.terms.gpus
        for lease in running
        if lease.closed_ns is None and lease.load_from_ns is not None
    )
    return Spending(nano + accrued, hourly)


async def lease_price(tx: Tx, lease_id: LeaseId) -> int | None:
    """What the renter pays for a GPU-hour of this lease, as agreed when it opened; None: it is
    not on the meter."""
    return await leases.renter_rate(tx, lease_id)


async def last_used_ns(tx: Tx, deployment_id: DeploymentId) -> int | None:
    """When a request was last resident on this deployment's replicas, as far as is known."""
    return await segments.last_used(tx, deployment_id)
