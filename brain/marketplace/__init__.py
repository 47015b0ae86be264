"""Providers and their nodes: who offers GPUs, at what price, under which key.

The door. A node's live state (beats, leases) belongs to the fleet, one floor up.
"""

from brain.marketplace.agent_file import AgentFile, agent_file, agent_sources, stored
from brain.marketplace.agent_store import node_keys
from brain.marketplace.keys import key_before, replace_key
from brain.marketplace.models import Node
from brain.marketplace.prices import default_price_nano
from brain.marketplace.rented import give_join_token, make_rented_node
from brain.marketplace.routes import latest_agent
from brain.marketplace.service import (
    JoinTerms,
    NodeTerms,
    make_join_token,
    node_of_account,
    node_terms,
    nodes_of_account,
    revoke_node,
)
from brain.marketplace.store import accounts_nodes, provider
from brain.marketplace.updates import AgentUpdates

__all__ = [
    "AgentFile",
    "AgentUpdates",
    "JoinTerms",
    "Node",
    "NodeTerms",
    "accounts_nodes",
    "agent_file",
    "agent_sources",
    "default_price_nano",
    "give_join_token",
    "key_before",
    "latest_agent",
    "make_join_token",
    "make_rented_node",
    "node_keys",
    "node_of_account",
    "node_terms",
    "nodes_of_account",
    "provider",
    "replace_key",
    "revoke_node",
    "stored",
]
