"""What the installation's settings say about trust."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.requests import Request

from brain.trust.core.classes import Yardstick


@dataclass(frozen=True)
class TrustTerms:
    """``check_seconds``: the mean time between two checks of an idle node; 0: none are begun.
    ``check_image``: the worker image whose torch checks a real GPU; "": real ones are not."""

    notice_seconds: int = 14_400
    shadow_days_min: int = 7
    check_seconds: int = 86_400
    check_image: str = ""
    yardstick: Yardstick = field(default_factory=Yardstick)


def get_terms(request: Request) -> TrustTerms:
    """FastAPI dependency; wiring puts the terms on the app."""
    terms: TrustTerms = request.app.state.trust_terms
    return terms
