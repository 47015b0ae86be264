"""The room of costs: what work costs us, recorded as it happens, beside what it was charged and
what clouds billed for it. This is its door."""

from brain.costs.bills import fetch_bills
from brain.costs.gather import Terms, record_due
from brain.costs.proofs import CostProofs
from brain.costs.recorder import Cost, Recorder

__all__ = ["Cost", "CostProofs", "Recorder", "Terms", "fetch_bills", "record_due"]
