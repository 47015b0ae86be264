"""Bodies of the routes of limits and warnings."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, StringConstraints

from brain.edge import Body

Nano = Annotated[int, Field(ge=0, le=10**18, strict=True)]
Mail = Annotated[str, StringConstraints(max_length=254, pattern=r"^([^@\s]+@[^@\s]+)?$")]


class LimitsBody(Body):
    """The most that may be spent in a UTC day and month, in nano-dollars; null: no limit."""

    day_nano: Nano | None
    month_nano: Nano | None


class LimitView(BaseModel):
    span: str
    limit_nano: int
    spent_nano: int
    held_nano: int = Field(description="Set aside for what runs; it counts as spent.")
    left_nano: int
    left_usd: str


class KeyLimitView(BaseModel):
    span: str
    limit_nano: int
    spent_nano: int = Field(description="Settled use, as it was last looked at.")
    reached: bool


class AlertBody(Body):
    """``threshold_nano`` null: the installation's own line; 0: no warnings."""

    threshold_nano: Nano | None
    email: Annotated[Mail, Field(description="Empty: the account's users.")] = ""


class AlertView(BaseModel):
    threshold_nano: int | None
    email: str
    below: bool = Field(description="A warning was sent for this crossing.")
