"""The room where providers are paid: destinations, payouts, statements. This is its door."""

from brain.payouts.core import Every
from brain.payouts.ports import (
    Declined,
    Disburser,
    DisburserError,
    Disbursers,
    NotNow,
    Onboarder,
    Onboarding,
    PaymentSight,
    PayoutOrder,
    Sight,
    Standing,
    Unsure,
)
from brain.payouts.proofs import PayoutProofs
from brain.payouts.reconcile import reconcile_payouts
from brain.payouts.service import PayoutTerms, run_period
from brain.payouts.tasks import ticks

__all__ = [
    "Declined",
    "Disburser",
    "DisburserError",
    "Disbursers",
    "Every",
    "NotNow",
    "Onboarder",
    "Onboarding",
    "PaymentSight",
    "PayoutOrder",
    "PayoutProofs",
    "PayoutTerms",
    "Sight",
    "Standing",
    "Unsure",
    "reconcile_payouts",
    "run_period",
    "ticks",
]
