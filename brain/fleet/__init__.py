"""The fleet: agents' sessions and beats, leases with epochs, desired sets, who is silent.

The door. ``claim`` and ``stop_lease`` join the caller's transaction; locks are taken in the
order replica, lease, node, money.
"""

from brain.fleet.calls import get_telemetry, signed_by_node
from brain.fleet.core import Outcome
from brain.fleet.figures import FleetFigures, figures, heard_nodes
from brain.fleet.front import AgentFront, FrontTerms
from brain.fleet.gateways import LinkGateways
from brain.fleet.gpu_health import GpuHealth, Level
from brain.fleet.gpu_health import judge as judge_gpu
from brain.fleet.leased import NodeFacts, leased_gpu_ns, nodes_of_account, nodes_of_leases
from brain.fleet.leases import claim, gpus_of, lease, stop_lease
from brain.fleet.link_keys import LinkKeys
from brain.fleet.logs import (
    READ_MAX,
    LogTerms,
    forget_logs,
    lease_logs,
    new_logs,
    newest_logs,
    page_of_logs,
    tail_logs,
)
from brain.fleet.metrics import LeaseMetrics, lease_metrics
from brain.fleet.ports import BeatPart, LeaseWatcher, NobodyWatches
from brain.fleet.reconcile import FleetStep, reconcile_leases
from brain.fleet.record import (
    EndedLease,
    GpuNow,
    LiveLease,
    ended_leases,
    gpus_now,
    live_leases_on,
    silent_nodes,
)
from brain.fleet.rented import (
    end_rented,
    launch_of,
    open_rented,
    retire_rented,
    see_failed,
    see_running,
    stop_rented,
)
from brain.fleet.session import session_secret
from brain.fleet.spans import LeaseSpan, lease_spans, node_gpu_uuids, node_known
from brain.fleet.standing import Standing, set_standing, standings
from brain.fleet.states import LeaseState
from brain.fleet.supply import offers
from brain.fleet.telemetry import LastBeat, Telemetry
from brain.fleet.views import Claim, LeaseView, LogEntry, LogRow
from brain.fleet.volumes import drop_volume, generation_of, volume_dropped
from brain.fleet.volumes import drops as volume_drops

__all__ = [
    "READ_MAX",
    "AgentFront",
    "BeatPart",
    "Claim",
    "EndedLease",
    "FleetFigures",
    "FleetStep",
    "FrontTerms",
    "GpuHealth",
    "GpuNow",
    "LastBeat",
    "LeaseMetrics",
    "LeaseSpan",
    "LeaseState",
    "LeaseView",
    "LeaseWatcher",
    "Level",
    "LinkGateways",
    "LinkKeys",
    "LiveLease",
    "LogEntry",
    "LogRow",
    "LogTerms",
    "NobodyWatches",
    "NodeFacts",
    "Outcome",
    "Standing",
    "Telemetry",
    "claim",
    "drop_volume",
    "end_rented",
    "ended_leases",
    "figures",
    "forget_logs",
    "generation_of",
    "get_telemetry",
    "gpus_now",
    "gpus_of",
    "heard_nodes",
    "judge_gpu",
    "launch_of",
    "lease",
    "lease_logs",
    "lease_metrics",
    "lease_spans",
    "leased_gpu_ns",
    "live_leases_on",
    "new_logs",
    "newest_logs",
    "node_gpu_uuids",
    "node_known",
    "nodes_of_account",
    "nodes_of_leases",
    "offers",
    "open_rented",
    "page_of_logs",
    "reconcile_leases",
    "retire_rented",
    "see_failed",
    "see_running",
    "session_secret",
    "set_standing",
    "signed_by_node",
    "silent_nodes",
    "standings",
    "stop_lease",
    "stop_rented",
    "tail_logs",
    "volume_dropped",
    "volume_drops",
]
