"""The room where money comes in: cards, top-ups, refunds, disputes. This is its door."""

from brain.payments.core import USD, Exchange
from brain.payments.desk import Desk, PaymentTerms, Processor
from brain.payments.hints import receive
from brain.payments.ports import (
    Away,
    Begun,
    Canceller,
    Card,
    CardKeeper,
    CardSetup,
    Collector,
    CredentialsRefused,
    Finder,
    Forged,
    Hint,
    HintReader,
    Line,
    Order,
    PayerRefused,
    PaymentError,
    PaymentRefused,
    PaymentState,
    Refunder,
    RefundLooker,
    RefundOrder,
    RefundSeen,
    Reversal,
    ReversalKind,
    Seen,
    Statement,
)
from brain.payments.proofs import PaymentProofs
from brain.payments.reconcile import reconcile_payments
from brain.payments.refill import reconcile_refills
from brain.payments.sweep import sweep_payments
from brain.payments.tasks import ticks

__all__ = [
    "USD",
    "Away",
    "Begun",
    "Canceller",
    "Card",
    "CardKeeper",
    "CardSetup",
    "Collector",
    "CredentialsRefused",
    "Desk",
    "Exchange",
    "Finder",
    "Forged",
    "Hint",
    "HintReader",
    "Line",
    "Order",
    "PayerRefused",
    "PaymentError",
    "PaymentProofs",
    "PaymentRefused",
    "PaymentState",
    "PaymentTerms",
    "Processor",
    "RefundLooker",
    "RefundOrder",
    "RefundSeen",
    "Refunder",
    "Reversal",
    "ReversalKind",
    "Seen",
    "Statement",
    "receive",
    "reconcile_payments",
    "reconcile_refills",
    "sweep_payments",
    "ticks",
]
