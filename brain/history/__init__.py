"""Telemetry over time: gathered from beats, rolled up, shown to those whose GPUs they are.

The door. ``HistoryPart`` rides on beats; ``reconcile_history`` is its tick.
"""

from brain.history.gather import HistoryPart
from brain.history.meters import Meters
from brain.history.ports import Renters
from brain.history.prometheus import FleetGauges, nodes_text
from brain.history.reconcile import HistoryStep, reconcile_history

__all__ = [
    "FleetGauges",
    "HistoryPart",
    "HistoryStep",
    "Meters",
    "Renters",
    "nodes_text",
    "reconcile_history",
]
