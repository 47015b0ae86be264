"""What clouds offer, and what became of attempts to rent it. This is the room's door.

Life of an attempt: ``admit`` in the transaction of the claim; ``record`` ``ACCEPTED`` when the
cloud made the machine; then ``SERVED``, a failure, or ``ABANDONED`` when it was stopped first.
"""

from brain.offers.core.breaker import Outcome, OutcomeKind
from brain.offers.market import Market, marked_up, offers
from brain.offers.ports import Near, Waiting
from brain.offers.reconcile import refresh_due
from brain.offers.service import admit, offer, record

__all__ = [
    "Market",
    "Near",
    "Outcome",
    "OutcomeKind",
    "Waiting",
    "admit",
    "marked_up",
    "offer",
    "offers",
    "record",
    "refresh_due",
]
