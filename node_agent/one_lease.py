"""Pure: when the agent of a machine that was rented for one lease is done."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.clock import NS
from node_agent.records import AgentState

REFUSALS = frozenset({"node_revoked", "node_unknown"})  # codes with which a node is sent away


@dataclass(frozen=True)
class Standing:
    """What the decision needs beside the records. Times are of the host's boot clock."""

    heard_ns: int  # when the brain last answered; the agent's start before that
    refusal: str = ""  # the code of the last refusal, if nothing was answered since
    works: int = 0  # containers or processes of ours, running or not
    busy: bool = False  # a job is in flight


def over(state: AgentState, standing: Standing, away_seconds_max: int, now_ns: int) -> str:
    """Why the agent should end, and the machine with it; empty while it should go on.

    A lease leaves its mark on the GPUs' fences, which outlive it: fences without a lease mean
    that the one lease was here and is over.
    """
    if standing.refusal in REFUSALS:
        return "The brain sent this node away."
    if now_ns - standing.heard_ns >= away_seconds_max * NS:
        return f"The brain was not heard for {away_seconds_max} s."
    done = bool(state.fences) and not state.leases
    if done and not standing.works and not standing.busy:
        return "Its lease is over and nothing runs."
    return ""
