"""What routes take and give of scaling by load."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from brain.deployments.models import Deployment
from brain.deployments.scaling import TERMS, follows, terms_of
from brain.edge import Body

Count = Annotated[int, Field(ge=1, le=64, strict=True)]
Seconds = Annotated[int, Field(ge=1, le=86_400, strict=True)]


class ScalingIn(Body):
    """With ``max_replicas`` the load decides, between it and ``min_replicas`` (1 if not given; 0:
    it sleeps when it is idle, and a request wakes it). ``replicas`` alone ends that."""

    min_replicas: Annotated[int, Field(ge=0, le=64, strict=True)] | None = None
    max_replicas: Count | None = None
    target_in_flight: (
        Annotated[
            int,
            Field(ge=1, le=1024, strict=True, description="On each; else 80 % of its concurrency."),
        ]
        | None
    ) = None
    scale_down_after_seconds: Seconds | None = None
    scale_to_zero_after_seconds: Seconds | None = None

    def scaling(self) -> dict[str, Any]:
        """What is named of it."""
        return {name: getattr(self, name) for name in TERMS if name in self.model_fields_set}


class ScalingOut(BaseModel):
    """All null where the number of replicas is its owner's."""

    min_replicas: int | None
    max_replicas: int | None
    target_in_flight: int | None
    scale_down_after_seconds: int | None
    scale_to_zero_after_seconds: int | None


def show_scaling(row: Deployment) -> dict[str, int | None]:
    """As they hold, defaults included."""
    if not follows(row):
        return dict.fromkeys(TERMS)
    terms = terms_of(row)
    return {
        "min_replicas": terms.least,
        "max_replicas": terms.most,
        "target_in_flight": terms.target,
        "scale_down_after_seconds": terms.down_seconds,
        "scale_to_zero_after_seconds": None if terms.least else terms.zero_seconds,
    }
