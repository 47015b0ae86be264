"""What a node is told of the secrets of a lease that it holds now, and of no other."""

from __future__ import annotations

from brain.fleet import core, store
from brain.fleet.states import LeaseState
from brain.plumbing import Ctx, audit
from brain.secrets import LeaseSecrets, Vault
from kernel.errors import NotFound
from kernel.ids import LeaseId, NodeId
from kernel.wire.agent import SecretsAnswer, SecretsRequest


async def give_secrets(
    ctx: Ctx, vault: Vault, node_id: NodeId, asked: SecretsRequest
) -> SecretsAnswer:
    """Environment and registry log-in of the node's own open lease; each time is audited.

    ``NotFound`` for another node's lease, another epoch, or one that ends or has ended: the
    answers do not differ, so that nothing can be learnt from them.
    """
    lease_id = LeaseId(core.plain(asked.lease_id))
    async with ctx.db.begin() as tx:
        row = await store.lease(tx, lease_id)
        held = row is not None and row.node_id == node_id and row.epoch == asked.epoch
        if row is None or not held or row.state != LeaseState.OPEN.value:
            raise NotFound("This node holds no such lease with this epoch.", code="no_lease")
        given = await vault.of_lease(tx, lease_id) or LeaseSecrets()
        names = ", ".join(sorted(given.environment))
        login = given.registry is not None
        detail: audit.Detail = {"epoch": row.epoch, "names": names, "registry": login}
        await audit.record(tx, ctx, str(node_id), "secrets.given", str(lease_id), detail)
    return SecretsAnswer(environment=given.environment, registry=given.registry)
