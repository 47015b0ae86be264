"""Trust: maintenance windows, checks of machines and GPUs, the open reliability score.

The door. What is found here reaches claims and offers as a node's standing (``fleet.Standing``).
"""

from brain.trust.part import TrustPart
from brain.trust.ports import NoRenters, Notice, Renters
from brain.trust.reconcile import TrustStep, look
from brain.trust.scores import score_due
from brain.trust.terms import TrustTerms
from brain.trust.windows import tell_renters

__all__ = [
    "NoRenters",
    "Notice",
    "Renters",
    "TrustPart",
    "TrustStep",
    "TrustTerms",
    "look",
    "score_due",
    "tell_renters",
]
