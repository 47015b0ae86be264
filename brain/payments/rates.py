"""What a processor's currency is credited as now: dollars as they are, others by a dated rate."""

from __future__ import annotations

from datetime import datetime

from brain import billing
from brain.payments.core import Exchange
from brain.payments.desk import Processor
from brain.plumbing import Tx


async def exchange_of(tx: Tx, processor: Processor, at: datetime) -> Exchange:
    """The processor's own exchange, or the rate in force of its currency; ``Conflict`` while an
    administrator has set none. A fraction of a nano-dollar is not credited."""
    if processor.currency is None:
        return processor.exchange
    rate = await billing.currency_rate(tx, processor.currency, at)
    return Exchange(rate.currency, rate.nano_per_unit // int(10**rate.decimals), rate.version)
