"""Those who take money, as far as the settings name an account with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from brain.adapters.payments.settings import PaymentSettings
from brain.payments import Desk, PaymentTerms, Processor
from kernel.clock import Clock
from kernel.money import Money


@dataclass(frozen=True)
class Payments:
    """The desk, and how its connections are closed."""

    desk: Desk = field(default_factory=Desk)
    closers: tuple[Callable[[], Awaitable[None]], ...] = ()

    async def close(self) -> None:
        for close in self.closers:
            await close()


def open_payments(settings: PaymentSettings, clock: Clock, *, public_url: str) -> Payments:
    """Made, not yet connected: nothing here waits."""
    processors: dict[str, Processor] = {}
    closers: list[Callable[[], Awaitable[None]]] = []
    if settings.stripe_api_key is not None:
        from brain.adapters.payments.stripe import open_stripe  # a second of imports

        processor, api = open_stripe(settings, clock)
        processors[processor.name] = processor
        closers.append(api.close)
    terms = PaymentTerms(
        least=Money.usd(str(settings.topup_usd_min)),
        most=Money.usd(str(settings.topup_usd_max)),
        refund_days=settings.topup_refund_days,
        public_url=public_url,
        publishable_key=settings.stripe_publishable_key,
    )
    return Payments(Desk(processors, terms), tuple(closers))
