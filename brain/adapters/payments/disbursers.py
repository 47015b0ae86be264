"""Those who pay providers, as far as the settings name an account with them."""

from __future__ import annotations

from brain.payouts import Disbursers
from kernel.clock import Clock


def open_disbursers(settings: object, clock: Clock) -> Disbursers:
    """Each of them whose keys are set."""
    return Disbursers()
