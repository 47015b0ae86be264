"""Provisioning: machines rented at clouds, from the wish to the proof that they are gone.

The door. ``rent`` joins the caller's transaction; locks are taken in the order replica, lease,
node, money, intent.
"""

from brain.provisioning.agentless import AtCloud, CloudImages, at_clouds
from brain.provisioning.code import AgentCode, agent_code
from brain.provisioning.reconcile import reconcile_intents
from brain.provisioning.rent import Rent, rent
from brain.provisioning.risk import Risk, money_at_risk, stage_of
from brain.provisioning.states import IntentState
from brain.provisioning.store import places
from brain.provisioning.sweep import Swept, sweep
from brain.provisioning.turn import Looks, Terms

__all__ = [
    "AgentCode",
    "AtCloud",
    "CloudImages",
    "IntentState",
    "Looks",
    "Rent",
    "Risk",
    "Swept",
    "Terms",
    "agent_code",
    "at_clouds",
    "money_at_risk",
    "places",
    "reconcile_intents",
    "rent",
    "stage_of",
    "sweep",
]
