"""One look of trust at the fleet: scores, notices to renters, checks. Levels only."""

from __future__ import annotations

from dataclasses import dataclass

from brain.plumbing import Ctx
from brain.trust.checking import begin_due, step
from brain.trust.ports import NoRenters, Renters
from brain.trust.scores import score_due
from brain.trust.terms import TrustTerms
from brain.trust.windows import tell_renters


@dataclass(frozen=True)
class TrustStep:
    """What one look did."""

    scored: int = 0
    told: int = 0
    begun: int = 0
    stepped: int = 0


async def look(ctx: Ctx, terms: TrustTerms, renters: Renters | None = None) -> TrustStep:
    """Score, tell, check. Safe many times at once."""
    scored = await score_due(ctx)
    told = await tell_renters(ctx, renters or NoRenters())
    stepped = await step(ctx, terms)
    begun = await begin_due(ctx, terms)
    return TrustStep(scored=scored, told=told, begun=begun, stepped=stepped)
