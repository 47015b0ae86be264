"""Which leases can be reached over links: may run, runs, and was ready once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from kernel.wire import links as wire
from kernel.wire.agent import DesiredLease, DesiredState, LaunchSpec
from node_agent.links import ties_of
from node_agent.records import AgentState, Held, Phase, Work

KEY = "5a" * 32
LAUNCH = LaunchSpec(engine="standin", image="i", arguments=[], ports=[9000], shell=True)
LEASE = DesiredLease("lease_1", 3, [], 60, DesiredState.RUN, LAUNCH, KEY)
HELD = Held(LEASE, deadline_ns=10**18, ready_ref="run")
WORK = Work(
    lease_id="lease_1",
    epoch=3,
    installation_id="a",
    gpu_uuids=frozenset(),
    phase=Phase.RUNNING,
    ref="run",
    port=41_000,
    ports={9000: 41_001},
)


def ties(held: Held = HELD, work: Work = WORK) -> dict[str, Any]:
    return dict(ties_of(AgentState("boot", leases={"lease_1": held}), [work]))


def held(**fields: Any) -> Held:
    return msgspec.structs.replace(HELD, **fields)


def lease(**fields: Any) -> Held:
    return held(lease=msgspec.structs.replace(LEASE, **fields))


@pytest.mark.feature("C2")
def test_a_ready_worker_is_reached_at_the_ports_that_its_engine_published() -> None:
    tie = ties()["lease_1"]
    assert (tie.epoch, tie.key.hex(), tie.shell, tie.pod) == (3, KEY, True, False)
    assert [tie.published(port) for port in (wire.WORKER, 9000, 9001)] == [41_000, 41_001, 0]
    assert KEY not in repr(tie)
    assert repr(bytes.fromhex(KEY)) not in repr(tie)


@pytest.mark.parametrize(
    ("record", "work"),
    [
        (held(ended="It lapsed."), WORK),
        (held(wanted=False), WORK),
        (lease(state=DesiredState.STOP), WORK),
        (held(ready_ref=""), WORK),
        (held(ready_ref="an earlier run"), WORK),
        (lease(link_key=""), WORK),
        (HELD, replace(WORK, epoch=2)),
        (HELD, replace(WORK, phase=Phase.EXITED)),
        (HELD, replace(WORK, lease_id="lease_2")),
    ],
)
def test_what_may_not_run_or_does_not_is_not_reached(record: Held, work: Work) -> None:
    assert ties(record, work) == {}


def test_a_pod_is_reached_as_soon_as_it_runs_and_has_no_port_of_a_worker() -> None:
    pod = msgspec.structs.replace(LAUNCH, engine="pod", health_path="", port=0)
    tie = ties(lease(launch=pod), replace(WORK, ref="another"))["lease_1"]
    assert (tie.pod, tie.port, tie.published(9000)) == (True, 0, 41_001)
