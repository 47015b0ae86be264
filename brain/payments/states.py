"""Pure tables: the life of a top-up, and of money of it that goes back."""

from __future__ import annotations

from enum import StrEnum

from kernel.machine import Machine


class TopUpState(StrEnum):
    CREATED = "created"  # wished for; the processor was not called
    ASKED = "asked"  # the processor may have been called
    PROCESSING = "processing"  # the processor works on it
    NEEDS_PAYER = "needs_payer"  # someone must act
    PAID = "paid"  # the money is ours and its credit is posted
    FAILED = "failed"  # nothing was taken
    EXPIRED = "expired"  # nobody paid in time, or it was called off
    PARKED = "parked"  # nobody knows, or the sums differ: a person looks


class TopUpEvent(StrEnum):
    ASK = "ask"
    PROCESS = "process"
    NEED = "need"
    PAY = "pay"
    FAIL = "fail"
    EXPIRE = "expire"
    PARK = "park"


S, E = TopUpState, TopUpEvent

# The processor's word is final: what was given up here is still paid when it says so.
TOP_UP: Machine[TopUpState, TopUpEvent] = Machine(
    name="top-up",
    start=S.CREATED,
    table={
        (S.CREATED, E.ASK): S.ASKED,
        (S.CREATED, E.FAIL): S.FAILED,
        (S.CREATED, E.EXPIRE): S.EXPIRED,
        (S.ASKED, E.PROCESS): S.PROCESSING,
        (S.ASKED, E.NEED): S.NEEDS_PAYER,
        (S.ASKED, E.PAY): S.PAID,
        (S.ASKED, E.FAIL): S.FAILED,
        (S.ASKED, E.EXPIRE): S.EXPIRED,
        (S.ASKED, E.PARK): S.PARKED,
        (S.PROCESSING, E.NEED): S.NEEDS_PAYER,
        (S.PROCESSING, E.PAY): S.PAID,
        (S.PROCESSING, E.FAIL): S.FAILED,
        (S.PROCESSING, E.EXPIRE): S.EXPIRED,
        (S.PROCESSING, E.PARK): S.PARKED,
        (S.NEEDS_PAYER, E.PROCESS): S.PROCESSING,
        (S.NEEDS_PAYER, E.PAY): S.PAID,
        (S.NEEDS_PAYER, E.FAIL): S.FAILED,
        (S.NEEDS_PAYER, E.EXPIRE): S.EXPIRED,
        (S.NEEDS_PAYER, E.PARK): S.PARKED,
        (S.FAILED, E.PAY): S.PAID,
        (S.FAILED, E.PARK): S.PARKED,
        (S.EXPIRED, E.PAY): S.PAID,
        (S.EXPIRED, E.PARK): S.PARKED,
        (S.PARKED, E.PROCESS): S.PROCESSING,
        (S.PARKED, E.NEED): S.NEEDS_PAYER,
        (S.PARKED, E.PAY): S.PAID,
        (S.PARKED, E.FAIL): S.FAILED,
    },
)
OPEN = frozenset({S.CREATED, S.ASKED, S.PROCESSING, S.NEEDS_PAYER})


class ReversalState(StrEnum):
    PLANNED = "planned"  # taken from the account; the processor is yet to give it back
    STANDS = "stands"  # it left us
    RETURNED = "returned"  # it stayed with us or came back; the account has it again


class ReversalEvent(StrEnum):
    STAND = "stand"
    RETURN = "return"


R, V = ReversalState, ReversalEvent

REVERSAL: Machine[ReversalState, ReversalEvent] = Machine(
    name="reversal",
    start=R.PLANNED,
    table={
        (R.PLANNED, V.STAND): R.STANDS,
        (R.PLANNED, V.RETURN): R.RETURNED,
        (R.STANDS, V.RETURN): R.RETURNED,
        (R.RETURNED, V.STAND): R.STANDS,
    },
)
