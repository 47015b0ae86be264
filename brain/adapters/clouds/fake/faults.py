"""How the fake cloud fails when it is told to: by a setting, or by a test while it runs. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from brain.clouds import (
    Broke,
    CloudError,
    CloudRefused,
    CredentialsRefused,
    MachineMissing,
    NothingFree,
    OutcomeUnknown,
    Throttled,
    Unreadable,
)

CALLS = ("offers", "create", "machine", "listing", "terminate", "stop", "start")
ANY = "any"
TITLE = "The fake cloud"
THROTTLED_SECONDS = 5.0
_ONE = re.compile(r"([a-z]+):([a-z_]+)(?:\*(\d{1,6}))?\Z")


class Fault(StrEnum):
    NO_CAPACITY = "no_capacity"
    THROTTLED = "throttled"
    REFUSED = "refused"
    CREDENTIALS = "credentials"
    BROKE = "broke"
    MISSING = "missing"
    CUT = "cut"  # nothing was done, and nobody knows
    LOST = "lost"  # it was done; the answer was lost
    UNREADABLE = "unreadable"  # it was done; the answer cannot be read
    PARTIAL = "partial"  # listing: some rows are missing, and it says so
    SLOW_BOOT = "slow_boot"  # create: up after SLOW_SECONDS
    FAILED_BOOT = "failed_boot"  # create: it fails instead of coming up


AFTER_THE_WORK = frozenset({Fault.LOST, Fault.UNREADABLE})
BEFORE_THE_WORK = (
    frozenset(Fault)
    - AFTER_THE_WORK
    - {
        Fault.PARTIAL,
        Fault.SLOW_BOOT,
        Fault.FAILED_BOOT,
    }
)


@dataclass(frozen=True, slots=True)
class Plan:
    """One fault of the setting: of which call, and for how many of them (0: all)."""

    call: str
    fault: Fault
    times: int = 0

    @property
    def name(self) -> str:
        return f"{self.call}:{self.fault}*{self.times}"

    def fits(self, call: str) -> bool:
        return self.call in {ANY, call}


def read_faults(text: str) -> tuple[Plan, ...]:
    """``create:no_capacity*2, listing:partial``; ``ValueError`` names what is wrong."""
    plans = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _ONE.match(part)
        if not found or found[1] not in {*CALLS, ANY} or found[2] not in set(Fault):
            calls, faults = ", ".join((*CALLS, ANY)), ", ".join(Fault)
            raise ValueError(
                f"must be a list of call:fault*times; calls: {calls}; faults: {faults}"
            )
        plans.append(Plan(found[1], Fault(found[2]), int(found[3] or 0)))
    return tuple(plans)


def error_for(fault: Fault) -> CloudError:
    """What the caller gets."""
    errors: dict[Fault, CloudError] = {
        Fault.NO_CAPACITY: NothingFree(f"{TITLE} has no free machine of this kind."),
        Fault.THROTTLED: Throttled(f"{TITLE} asks for fewer calls.", retry_after=THROTTLED_SECONDS),
        Fault.REFUSED: CloudRefused(f"{TITLE} refuses the request."),
        Fault.CREDENTIALS: CredentialsRefused(f"{TITLE} refuses the key."),
        Fault.BROKE: Broke(f"{TITLE} says that the account has no balance."),
        Fault.MISSING: MachineMissing(f"{TITLE} does not know this machine."),
        Fault.CUT: OutcomeUnknown(f"{TITLE} gave no answer."),
        Fault.LOST: OutcomeUnknown(f"{TITLE} gave no answer."),
        Fault.UNREADABLE: Unreadable(f"{TITLE} answered with what cannot be read."),
    }
    return errors[fault]
