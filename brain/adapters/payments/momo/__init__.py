"""MTN MoMo: collections (top-ups) and disbursements (payouts). Each product has its own keys."""

from brain.adapters.payments.momo.collector import MomoCollector, MomoHints
from brain.adapters.payments.momo.disburser import MomoDisburser
from brain.adapters.payments.momo.http import MomoAccount, MomoHttp
from brain.adapters.payments.momo.refunder import MomoRefunder
from brain.adapters.payments.momo.settings import MomoSettings

__all__ = [
    "MomoAccount",
    "MomoCollector",
    "MomoDisburser",
    "MomoHints",
    "MomoHttp",
    "MomoRefunder",
    "MomoSettings",
]
