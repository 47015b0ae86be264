"""What an attempt tells of its offer, in the words of the offers' room."""

from __future__ import annotations

from brain.clouds import CloudOffer
from brain.offers import Outcome, OutcomeKind
from brain.provisioning.models import Intent
from kernel.clock import NS


def offer_of(row: Intent) -> CloudOffer:
    """The offer as it was when it was chosen."""
    return CloudOffer(**row.offer)  # type: ignore[arg-type]


def outcome_of(
    row: Intent, kind: OutcomeKind, *, detail: str = "", retry_after: float | None = None
) -> Outcome:
    """The outcome of this intent's attempt at its offer."""
    offer = offer_of(row)
    boot = None
    if row.ordered_ns is not None and row.enrolled_ns is not None:
        boot = max(0, row.enrolled_ns - row.ordered_ns) // NS
    return Outcome(
        cloud=offer.cloud,
        region=offer.region,
        gpu_name=offer.gpu_name,
        host=offer.host,
        kind=kind,
        boot_seconds=boot,
        detail=detail[:300],
        offer_key=offer.key,
        retry_after=retry_after,
        model=row.model,
    )
