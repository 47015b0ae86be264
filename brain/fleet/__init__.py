"""The fleet: agents' sessions and beats, leases with epochs, desired sets, who is silent.

The door. ``claim`` and ``stop_lease`` join the caller's transaction; locks are taken in the
order replica, lease, node, money.
"""

from brain.fleet.calls import get_telemetry
from brain.fleet.core import Outcome
from brain.fleet.front import AgentFront, FrontTerms
from brain.fleet.leases import claim, gpus_of, lease, stop_lease
from brain.fleet.logs import lease_logs
from brain.fleet.metrics import LeaseMetrics, lease_metrics
from brain.fleet.ports import BeatPart, LeaseWatcher, NobodyWatches
from brain.fleet.reconcile import FleetStep, reconcile_leases
from brain.fleet.rented import end_rented, open_rented, retire_rented
from brain.fleet.session import session_secret
from brain.fleet.states import LeaseState
from brain.fleet.supply import offers
from brain.fleet.telemetry import Telemetry
from brain.fleet.views import Claim, LeaseView, LogEntry

__all__ = [
    "AgentFront",
    "BeatPart",
    "Claim",
    "FleetStep",
    "FrontTerms",
    "LeaseMetrics",
    "LeaseState",
    "LeaseView",
    "LeaseWatcher",
    "LogEntry",
    "NobodyWatches",
    "Outcome",
    "Telemetry",
    "claim",
    "end_rented",
    "get_telemetry",
    "gpus_of",
    "lease",
    "lease_logs",
    "lease_metrics",
    "offers",
    "open_rented",
    "reconcile_leases",
    "retire_rented",
    "session_secret",
    "stop_lease",
]
