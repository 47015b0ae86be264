"""What the room works with: processors, what each can do, and the installation's terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from brain.payments.core import USD, Exchange
from brain.payments.ports import (
    Canceller,
    CardKeeper,
    Collector,
    Finder,
    HintReader,
    Refunder,
    RefundLooker,
    Statement,
)
from kernel.errors import NotFound
from kernel.money import Money

LEAST = Money.usd("5")
MOST = Money.usd("10000")


@dataclass(frozen=True)
class Processor:
    """One processor and what it can do. ``methods`` are what people choose from, such as
    ``card`` (a saved one), ``page`` (the processor's own), ``mobile_money``, ``crypto``."""

    collector: Collector
    methods: tuple[str, ...]
    exchange: Exchange = USD
    currency: str | None = None  # credited by its dated rate in the place of ``exchange``
    canceller: Canceller | None = None
    finder: Finder | None = None
    reader: HintReader | None = None
    refunder: Refunder | None = None
    refund_looker: RefundLooker | None = None
    keeper: CardKeeper | None = None
    statement: Statement | None = None

    @property
    def name(self) -> str:
        return self.collector.name


@dataclass(frozen=True)
class PaymentTerms:
    """``public_url``: where the processor's pages send payers back to."""

    least: Money = LEAST
    most: Money = MOST
    open_max: int = 5  # top-ups of an account that wait at the same time
    failed_per_hour_max: int = 10
    refund_days: int = 14  # so long an owner may take back what is unused
    public_url: str = ""
    publishable_key: str = ""


@dataclass(frozen=True)
class Desk:
    """Empty while no processor has a key: then everything here says so."""

    processors: Mapping[str, Processor] = field(default_factory=dict)
    terms: PaymentTerms = field(default_factory=PaymentTerms)

    def named(self, name: str) -> Processor | None:
        return self.processors.get(name)

    def of_method(self, method: str) -> Processor:
        for processor in self.processors.values():
            if method in processor.methods:
                return processor
        have = ", ".join(self.methods()) or "none: its operator has set up no processor"
        raise NotFound(f"Nobody takes {method} here; there is {have}.", param="method")

    def keeper(self) -> tuple[Processor, CardKeeper]:
        """The processor that keeps cards."""
        for processor in self.processors.values():
            if processor.keeper is not None:
                return processor, processor.keeper
        raise NotFound("This installation keeps no cards: its operator has set up no processor.")

    def methods(self) -> list[str]:
        return [method for one in self.processors.values() for method in one.methods]
