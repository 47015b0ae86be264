"""What an owner asks of the places of a deployment's workers: as it is kept, and as a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from brain.scheduling import PlanRequest, Prefer, Trust


@dataclass(frozen=True)
class Wishes:
    """``spot``: may be taken away at any time. ``secure``: in a data centre, not on a stranger's
    machine. ``reliability_ppm_min``: as it is told of the place."""

    regions: tuple[str, ...] = ()
    spot: bool = False
    secure: bool = False
    reliability_ppm_min: int = 0
    prefer: Prefer = Prefer.CHEAPEST

    def kept(self) -> dict[str, Any]:
        return {
            "regions": list(self.regions),
            "spot": self.spot,
            "secure": self.secure,
            "reliability_ppm_min": self.reliability_ppm_min,
            "prefer": self.prefer.value,
        }

    def ask(self, request: PlanRequest, beside: Mapping[str, int]) -> PlanRequest:
        """The request with these wishes; ``beside`` counts what runs already, where."""
        return replace(
            request,
            regions=frozenset(self.regions),
            spot=self.spot,
            trust_min=Trust.VERIFIED if self.secure else Trust.COMMUNITY,
            reliability_ppm_min=self.reliability_ppm_min,
            prefer=self.prefer,
            beside=beside,
        )


def wishes_of(kept: Mapping[str, Any]) -> Wishes:
    """As it was kept; what was not asked for is as ever."""
    return Wishes(
        regions=tuple(kept.get("regions", ())),
        spot=bool(kept.get("spot", False)),
        secure=bool(kept.get("secure", False)),
        reliability_ppm_min=int(kept.get("reliability_ppm_min", 0)),
        prefer=Prefer(kept.get("prefer", Prefer.CHEAPEST.value)),
    )
