"""When the agent of a rented machine is done."""

from __future__ import annotations

import pytest

from kernel.clock import NS
from node_agent.one_lease import Standing, over
from node_agent.records import AgentState, Fence, Held
from tests.unit.node_agent.world import lease

HELD = AgentState("boot", leases={"l": Held(lease(1), 0)}, fences={"g": Fence(1, "l")})
DONE = AgentState("boot", fences={"g": Fence(1, "l")})
FRESH = AgentState("boot")


def test_it_waits_for_its_lease_and_for_the_end_of_it() -> None:
    assert over(FRESH, Standing(heard_ns=0), 60, 0) == ""
    assert over(HELD, Standing(heard_ns=0), 60, 0) == ""


def test_it_is_done_when_its_lease_is_over_and_nothing_runs() -> None:
    assert over(DONE, Standing(heard_ns=0, works=1), 60, 0) == ""
    assert over(DONE, Standing(heard_ns=0, busy=True), 60, 0) == ""
    assert "over" in over(DONE, Standing(heard_ns=0), 60, 0)


@pytest.mark.feature("B7")
def test_without_the_brain_it_ends_at_its_limit() -> None:
    assert over(HELD, Standing(heard_ns=NS), 60, 60 * NS) == ""
    assert "not heard" in over(HELD, Standing(heard_ns=NS), 60, 61 * NS)


def test_a_node_that_is_sent_away_goes() -> None:
    assert over(HELD, Standing(heard_ns=0, refusal="node_revoked"), 60, 0)
    assert over(HELD, Standing(heard_ns=0, refusal="brain_away"), 60, 0) == ""
