"""Pure tables: the life of a payout. Money is set aside in the first state and is settled once."""

from __future__ import annotations

from enum import StrEnum

from kernel.machine import Machine


class PayoutState(StrEnum):
    ASKED = "asked"  # the money is set aside; the processor was never called
    SUBMITTING = "submitting"  # it may have been called; nobody knows what it did
    SUBMITTED = "submitted"  # the processor has it
    UNKNOWN = "unknown"  # nobody can say: it is looked at for ever, and never asked for again
    PAID = "paid"
    FAILED = "failed"  # the processor paid nothing and will not; the money is payable again


class PayoutEvent(StrEnum):
    SUBMIT = "submit"  # write down that the processor is called from now on
    ACCEPT = "accept"
    PAY = "pay"
    FAIL = "fail"
    LOSE = "lose"


S, E = PayoutState, PayoutEvent

PAYOUT: Machine[PayoutState, PayoutEvent] = Machine(
    name="payout",
    start=S.ASKED,
    table={
        (S.ASKED, E.SUBMIT): S.SUBMITTING,
        (S.ASKED, E.FAIL): S.FAILED,
        (S.SUBMITTING, E.ACCEPT): S.SUBMITTED,
        (S.SUBMITTING, E.PAY): S.PAID,
        (S.SUBMITTING, E.FAIL): S.FAILED,
        (S.SUBMITTING, E.LOSE): S.UNKNOWN,
        (S.SUBMITTED, E.PAY): S.PAID,
        (S.SUBMITTED, E.FAIL): S.FAILED,
        (S.SUBMITTED, E.LOSE): S.UNKNOWN,
        (S.UNKNOWN, E.PAY): S.PAID,
        (S.UNKNOWN, E.FAIL): S.FAILED,
    },
)
UNDER_WAY = frozenset({S.ASKED, S.SUBMITTING, S.SUBMITTED, S.UNKNOWN})
