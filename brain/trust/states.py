"""The life of one check of a GPU, as a table."""

from __future__ import annotations

from enum import StrEnum

from kernel.machine import Machine


class CheckState(StrEnum):
    ASKED = "asked"  # the agent is to fill, read and multiply, and to commit to what it found
    RECALL = "recall"  # all of the group committed: read it all once more, under a new key
    OPEN = "open"  # open the sampled blocks and rows
    PASSED = "passed"
    FAILED = "failed"
    ENDED = "ended"  # no verdict: the GPU was leased meanwhile, the node fell silent


class CheckEvent(StrEnum):
    RECALL = "recall"
    OPEN = "open"
    PASS = "pass"  # noqa: S105  an event, not a secret
    FAIL = "fail"
    END = "end"


_LIVE = (CheckState.ASKED, CheckState.RECALL, CheckState.OPEN)
CHECK: Machine[CheckState, CheckEvent] = Machine(
    name="check",
    start=CheckState.ASKED,
    table={
        (CheckState.ASKED, CheckEvent.RECALL): CheckState.RECALL,
        (CheckState.RECALL, CheckEvent.OPEN): CheckState.OPEN,
        (CheckState.OPEN, CheckEvent.PASS): CheckState.PASSED,
        **{(state, CheckEvent.FAIL): CheckState.FAILED for state in _LIVE},
        **{(state, CheckEvent.END): CheckState.ENDED for state in _LIVE},
    },
)
LIVE = tuple(state.value for state in _LIVE)
