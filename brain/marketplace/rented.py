"""Nodes of machines that we rent ourselves: made before the machine, keyed when it speaks."""

from __future__ import annotations

from datetime import datetime

from brain.identity import PLATFORM_ACCOUNT
from brain.marketplace import core, store
from brain.marketplace.models import JoinToken, Node
from brain.plumbing import Tx
from kernel.ids import Ids, NodeId, TokenId

PROVIDER_NAME = "Rented machines"


async def make_rented_node(
    tx: Tx, node_id: NodeId, *, name: str, price_nano: int, region: str, at: datetime
) -> None:
    """The platform's node for one rented machine, at a price that stays. It is never on offer."""
    await store.ensure_provider(tx, PLATFORM_ACCOUNT, PROVIDER_NAME, at)
    node = Node(
        node_id=node_id,
        account_id=PLATFORM_ACCOUNT,
        name=name,
        public_key=store.keyless(node_id),
        price_nano=price_nano,
        listed=False,
        rented=True,
        region=region,
        created_at=at,
    )
    made = await store.add_node(tx, node)
    assert made, "the id is new, so what stands for its key is new"


async def give_join_token(
    tx: Tx, node_id: NodeId, secret: str, *, now: datetime, expires_at: datetime, ids: Ids
) -> None:
    """This token, once and until ``expires_at``, makes its bearer this node's agent. A token
    given before and not used is good no more."""
    row = JoinToken(
        token_id=ids.new(TokenId),
        account_id=PLATFORM_ACCOUNT,
        digest=core.token_digest(secret),
        created_at=now,
        expires_at=expires_at,
        node_id=node_id,
    )
    await store.give_token(tx, row)
