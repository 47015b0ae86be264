"""Those who pay providers, as far as the settings name an account with them."""

from __future__ import annotations

from brain.adapters.payments.momo import MomoDisburser, MomoHttp, MomoSettings
from brain.payouts import Disbursers
from kernel.clock import Clock


def open_disbursers(settings: MomoSettings, clock: Clock) -> Disbursers:
    """Each of them whose keys are set."""
    made = Disbursers()
    momo = settings.momo_account("disbursement")
    if momo is not None:
        made.pay["momo"] = MomoDisburser(MomoHttp(momo, clock))
    return made
