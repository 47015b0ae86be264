"""The planner: which offer, and why each other one was not taken. Pure values; no I/O."""

from brain.scheduling.offer import (
    Candidate,
    Choice,
    Cost,
    Offer,
    Plan,
    PlanRequest,
    Prefer,
    Shape,
    Trust,
    Why,
)
from brain.scheduling.planner import Board, plan
from brain.scheduling.together import plan_together
from brain.scheduling.why import explain

__all__ = [
    "Board",
    "Candidate",
    "Choice",
    "Cost",
    "Offer",
    "Plan",
    "PlanRequest",
    "Prefer",
    "Shape",
    "Trust",
    "Why",
    "explain",
    "plan",
    "plan_together",
]
