"""One lease as the meter sees it: what is billable, what it costs, and its six buckets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from brain.billing.core.posting import Bucket
from kernel.errors import BadInput
from kernel.ids import AccountId, DeploymentId, HoldId, LeaseId, ReplicaId
from kernel.money import TICKS_PER_GPU_NS, HourlyRate, Money

COVER_NS_MIN = 60 * 1_000_000_000  # a lease's hold covers at least a minute ahead
COVER_NS = 2 * COVER_NS_MIN  # what is asked for when there is enough
POST_NS = 3600 * 1_000_000_000  # an accruing lease is posted once an hour


class LeaseMode(StrEnum):
    DEDICATED = "dedicated"  # the owner pays for the time
    POOL = "pool"  # requests pay for their shares, the platform pays for the time
    POD = "pod"  # the owner pays for the time, and from ready to its stop all of it is busy


class LeaseMark(StrEnum):
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


class LeaseOutcome(StrEnum):
    """How a lease ended. Only ``LOST`` leaves time after the last evidence unbilled."""

    GONE = "gone"  # evidence that the work is gone
    LOST = "lost"  # no evidence came until the lease ran out


@dataclass(frozen=True)
class LeaseTerms:
    """What is agreed when a lease opens. Rates are nano-dollars per GPU-hour, ceilings
    nano-dollars per 1,000 tokens (0 = none)."""

    lease_id: LeaseId
    epoch: int
    payer: AccountId
    provider: AccountId | None
    gpus: int
    renter_rate_nano: int
    provider_rate_nano: int
    mode: LeaseMode | str
    pool_rate_nano: int
    ceiling_prompt_nano: int
    ceiling_completion_nano: int
    deployment_id: DeploymentId
    replica_id: ReplicaId
    opened_ns: int

    def __post_init__(self) -> None:
        if self.gpus < 1 or self.epoch < 0 or self.mode not in set(LeaseMode):
            raise BadInput("A lease needs at least one GPU, an epoch and a known mode.")
        rates = (
            self.renter_rate_nano,
            self.provider_rate_nano,
            self.pool_rate_nano,
            self.ceiling_prompt_nano,
            self.ceiling_completion_nano,
        )
        if min(rates) < 0:
            raise BadInput("A rate is never negative.")


@dataclass(frozen=True)
class Lease:
    """A row of ``meter_lease`` as a value."""

    terms: LeaseTerms
    fee_basis_points: int
    loading_ns: int | None
    ready_ns: int | None
    draining_ns: int | None
    evidence_ns: int
    closed_ns: int | None
    settled_ns: int
    busy_ready_ns: int
    busy_drain_ns: int
    rounding_ns: int
    late_ns: int  # what of busy came too late for its window
    billed_ns: int | None
    hold_id: HoldId | None

    @property
    def id(self) -> LeaseId:
        return self.terms.lease_id

    @property
    def pooled(self) -> bool:
        return self.terms.mode == LeaseMode.POOL

    @property
    def waives(self) -> bool:
        """May a published ceiling take something off a bill?"""
        terms = self.terms
        return self.pooled and bool(terms.ceiling_prompt_nano or terms.ceiling_completion_nano)

    @property
    def load_from_ns(self) -> int | None:
        """When billable time began, if it did: the worker began to load."""
        return self.loading_ns if self.loading_ns is not None else self.ready_ns

    def unbilled_ticks(self, until_ns: int) -> int:
        """GPU time in ticks from what is billed up to ``until_ns`` (the last evidence at most)."""
        start = self.billed_ns if self.billed_ns is not None else self.load_from_ns
        if start is None:
            return 0
        span = min(until_ns, self.evidence_ns) - start
        return max(0, span) * self.terms.gpus * TICKS_PER_GPU_NS

    def cover(self, span_ns: int) -> Money:
        """The least money that covers ``span_ns`` of this lease's burn."""
        return HourlyRate(self.terms.renter_rate_nano).ceiling_for_ns(span_ns * self.terms.gpus)


def buckets(lease: Lease) -> dict[Bucket, int]:
    """GPU-ns per bucket of a closed lease; they sum to gpus x (closed - opened) exactly.

    Time after the last evidence is lost. Busy time, which settlement has clipped to
    [ready, evidence), is taken out of the ready and drain phases in which it fell.
    """
    assert lease.closed_ns is not None, "only a closed lease has its buckets"
    end, opened, gpus = lease.closed_ns, lease.terms.opened_ns, lease.terms.gpus
    seen = min(max(lease.evidence_ns, opened), end)
    load = min(lease.load_from_ns, seen) if lease.load_from_ns is not None else seen
    ready = min(lease.ready_ns, seen) if lease.ready_ns is not None else seen
    drain = min(lease.draining_ns, seen) if lease.draining_ns is not None else seen
    load, ready, drain = max(load, opened), max(ready, load), max(drain, ready)
    return {
        Bucket.PROVISION: (load - opened) * gpus,
        Bucket.LOAD: (ready - load) * gpus,
        Bucket.BUSY: lease.busy_ready_ns + lease.busy_drain_ns,
        Bucket.IDLE: (drain - ready) * gpus - lease.busy_ready_ns,
        Bucket.DRAIN: (seen - drain) * gpus - lease.busy_drain_ns,
        Bucket.LOST: (end - seen) * gpus,
    }


def pod_busy(lease: Lease) -> Lease:
    """A pod that closed has no requests: what would be idle or drain is busy, its owner's own."""
    assert lease.terms.mode == LeaseMode.POD, "only a pod is busy without requests"
    parts = buckets(replace(lease, busy_ready_ns=0, busy_drain_ns=0))
    return replace(lease, busy_ready_ns=parts[Bucket.IDLE], busy_drain_ns=parts[Bucket.DRAIN])


def earning(charge: Money, fee_basis_points: int) -> Money:
    """The provider's part: rounded down; the fee is the rest."""
    return Money(charge.nano * (10_000 - fee_basis_points) // 10_000)
