"""Pure tables: the life of a rented machine, of an unknown one, and of a cloud account."""

from __future__ import annotations

from enum import StrEnum

from kernel.machine import Machine


class IntentState(StrEnum):
    PLANNED = "planned"  # wished for; the cloud was not called, or said that nothing was made
    CREATING = "creating"  # its tag is written down and the cloud may have been called
    BOOTING = "booting"  # the machine is known; its agent has not spoken
    # The agent spoke and its GPUs joined the lease; without an agent: the cloud says that it runs.
    ENROLLED = "enrolled"
    SERVING = "serving"  # the worker answered once; without an agent: the lease counts as ready
    TERMINATING = "terminating"  # is to go; until the cloud says that it is gone
    TERMINATED = "terminated"  # the cloud says that it is gone
    ABSENT = "absent"  # no machine was ever made


class IntentEvent(StrEnum):
    ORDER = "order"  # write down a new tag, then call the cloud
    DENY = "deny"  # the cloud said that nothing was made; it may be ordered once more
    MISS = "miss"  # waited out and not listed: this order made nothing
    DROP = "drop"  # not wanted any more, and nothing was made
    FIND = "find"  # the machine is known
    ENROL = "enrol"
    SERVE = "serve"
    END = "end"  # it is to go
    VANISH = "vanish"  # the cloud says that it is gone, unasked
    GONE = "gone"


S, E = IntentState, IntentEvent

INTENT: Machine[IntentState, IntentEvent] = Machine(
    name="rented machine",
    start=S.PLANNED,
    table={
        (S.PLANNED, E.ORDER): S.CREATING,
        (S.PLANNED, E.DROP): S.ABSENT,
        (S.CREATING, E.DENY): S.PLANNED,
        (S.CREATING, E.MISS): S.PLANNED,
        (S.CREATING, E.FIND): S.BOOTING,
        (S.BOOTING, E.ENROL): S.ENROLLED,
        (S.ENROLLED, E.SERVE): S.SERVING,
        (S.BOOTING, E.END): S.TERMINATING,
        (S.ENROLLED, E.END): S.TERMINATING,
        (S.SERVING, E.END): S.TERMINATING,
        (S.BOOTING, E.VANISH): S.TERMINATED,
        (S.ENROLLED, E.VANISH): S.TERMINATED,
        (S.SERVING, E.VANISH): S.TERMINATED,
        (S.TERMINATING, E.GONE): S.TERMINATED,
    },
)
ENDED = frozenset({S.TERMINATED, S.ABSENT})
# A machine is known and may cost money.
STANDING = frozenset({S.BOOTING, S.ENROLLED, S.SERVING, S.TERMINATING})


class UnknownState(StrEnum):
    QUARANTINED = "quarantined"  # bears our tag and belongs to no intent; waits
    DESTROYING = "destroying"
    ADOPTED = "adopted"  # an intent claimed it after all
    GONE = "gone"  # the cloud does not list it any more


class UnknownEvent(StrEnum):
    ADOPT = "adopt"
    DESTROY = "destroy"
    GONE = "gone"
    RETURN = "return"  # it is listed again


U, V = UnknownState, UnknownEvent

UNKNOWN: Machine[UnknownState, UnknownEvent] = Machine(
    name="stray machine",
    start=U.QUARANTINED,
    table={
        (U.QUARANTINED, V.ADOPT): U.ADOPTED,
        (U.DESTROYING, V.ADOPT): U.ADOPTED,
        (U.QUARANTINED, V.DESTROY): U.DESTROYING,
        (U.QUARANTINED, V.GONE): U.GONE,
        (U.DESTROYING, V.GONE): U.GONE,
        (U.ADOPTED, V.GONE): U.GONE,
        (U.GONE, V.RETURN): U.QUARANTINED,
        (U.ADOPTED, V.RETURN): U.QUARANTINED,
    },
)


class AccountState(StrEnum):
    OPEN = "open"
    REFUSED = "refused"  # the cloud refuses our credentials
    BROKE = "broke"  # no balance, or a limit of the account
    MISSING = "missing"  # its credentials were taken out of the settings with machines standing


class AccountEvent(StrEnum):
    ANSWER = "answer"  # an authenticated call succeeded
    REFUSE = "refuse"
    BREAK = "break"
    REMOVE = "remove"


A, B = AccountState, AccountEvent

ACCOUNT: Machine[AccountState, AccountEvent] = Machine(
    name="cloud account",
    start=A.OPEN,
    table={
        (A.OPEN, B.REFUSE): A.REFUSED,
        (A.OPEN, B.BREAK): A.BROKE,
        (A.OPEN, B.REMOVE): A.MISSING,
        (A.REFUSED, B.ANSWER): A.OPEN,
        (A.REFUSED, B.REMOVE): A.MISSING,
        (A.BROKE, B.ANSWER): A.OPEN,
        (A.BROKE, B.REFUSE): A.REFUSED,
        (A.BROKE, B.REMOVE): A.MISSING,
        (A.MISSING, B.ANSWER): A.OPEN,
        (A.MISSING, B.REFUSE): A.REFUSED,
    },
)
