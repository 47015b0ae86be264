"""Those who take money, as far as the settings name an account with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from brain.adapters.payments.coinbase import (
    CoinbaseCollector,
    CoinbaseHints,
    CoinbaseHttp,
    CoinbaseSettings,
)
from brain.adapters.payments.momo import (
    MomoCollector,
    MomoHints,
    MomoHttp,
    MomoRefunder,
    MomoSettings,
)
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


class WalletSettings(PaymentSettings, MomoSettings, CoinbaseSettings):
    """Of every processor; the brain's settings are these and more."""


def open_payments(settings: WalletSettings, clock: Clock, *, public_url: str) -> Payments:
    """Made, not yet connected: nothing here waits."""
    processors: dict[str, Processor] = {}
    closers: list[Callable[[], Awaitable[None]]] = []
    if settings.stripe_api_key is not None:
        from brain.adapters.payments.stripe import open_stripe  # a second of imports

        processor, api = open_stripe(settings, clock)
        processors[processor.name] = processor
        closers.append(api.close)
    for wallet, close in _wallets(settings, clock, public_url):
        processors[wallet.name] = wallet
        closers.append(close)
    terms = PaymentTerms(
        least=Money.usd(str(settings.topup_usd_min)),
        most=Money.usd(str(settings.topup_usd_max)),
        refund_days=settings.topup_refund_days,
        public_url=public_url,
        publishable_key=settings.stripe_publishable_key,
    )
    return Payments(Desk(processors, terms), tuple(closers))


def _wallets(
    settings: WalletSettings, clock: Clock, public_url: str
) -> list[tuple[Processor, Callable[[], Awaitable[None]]]]:
    """Mobile money and crypto, as far as they are set up."""
    found: list[tuple[Processor, Callable[[], Awaitable[None]]]] = []
    account = settings.momo_account("collection")
    if account is not None:
        # MoMo calls back over https alone.
        callback = f"{public_url}/webhooks/momo" if public_url.startswith("https://") else None
        found.append(_momo(settings, clock, MomoCollector(MomoHttp(account, clock), callback)))
    key = settings.coinbase_key()
    if key is not None:
        coinbase = CoinbaseCollector(CoinbaseHttp(key, settings.coinbase_base_url, clock))
        secret = settings.coinbase_webhook_secret
        reader = None if secret is None else CoinbaseHints(secret.get_secret_value(), clock)
        crypto = Processor(
            coinbase, ("crypto",), canceller=coinbase, reader=reader, refunder=coinbase
        )
        found.append((crypto, coinbase.close))
    return found


def _momo(
    settings: WalletSettings, clock: Clock, collector: MomoCollector
) -> tuple[Processor, Callable[[], Awaitable[None]]]:
    """What goes back to a phone is a disbursement: it needs the keys of that product."""
    account = settings.momo_account("disbursement")
    refunder = None if account is None else MomoRefunder(MomoHttp(account, clock))

    async def close() -> None:
        await collector.close()
        if refunder is not None:
            await refunder.close()

    made = Processor(
        collector,
        ("mobile_money",),
        currency=settings.momo_currency,
        reader=MomoHints(),
        refunder=refunder,
        refund_looker=refunder,
    )
    return made, close
