"""The end of a world: nothing goes wrong any more, and everything must come right by itself."""

from __future__ import annotations

from brain.deployments import service, store
from brain.deployments.states import Asked, DeploymentState, ReplicaState
from tests.sim.whole.broken import Broken
from tests.sim.whole.life import World

STEPS_MAX = 80  # to converge in, each at most four seconds


async def unsettled(world: World) -> list[str]:
    """Deployments that are not as they were asked to be, and cannot say why."""
    web = world.webs[0]
    found = [] if world.own_images is None else await world.own_images.unsettled(web.ctx)
    async with web.ctx.db.begin() as tx:
        for key in world.people.asked:
            row = await store.find(tx, key)
            if row is None or row.deleted_at is not None:
                continue
            whole = await service.whole(tx, row)
            waits = [r for r in whole.replicas if r.state == ReplicaState.PENDING.value]
            said = all(replica.waiting_reason for replica in waits)
            if not _is_settled(whole.state, asked=Asked(row.asked), waits=bool(waits), said=said):
                found.append(f"{key} asked {row.asked} x{row.replicas} is {whole.state.value}")
    return found


def _is_settled(state: DeploymentState, *, asked: Asked, waits: bool, said: bool) -> bool:
    if asked is Asked.STOPPED:
        return state is DeploymentState.STOPPED
    if state in (DeploymentState.RUNNING, DeploymentState.ASLEEP, DeploymentState.FAILED):
        return True
    return state in (DeploymentState.WAITING, DeploymentState.DEGRADED) and waits and said


async def left_over(world: World) -> list[str]:
    """What should be gone once everything was stopped."""
    web = world.webs[0]
    async with web.ctx.db.begin() as tx:
        connection = await tx.connection()
        rows = await connection.exec_driver_sql(
            "SELECT 'lease ' || lease_id FROM lease WHERE state <> 'closed'"
            " UNION ALL SELECT 'replica ' || replica_id FROM replica"
            " WHERE state NOT IN ('stopped', 'failed')"
            " UNION ALL SELECT 'hold of ' || lease_id FROM hold WHERE state = 'open'"
            " UNION ALL SELECT 'intent ' || intent_id || ' ' || state FROM provision_intent"
            " WHERE state NOT IN ('terminated', 'absent')"
            " UNION ALL SELECT 'unknown ' || unknown_id FROM unknown_machine"
            " WHERE state NOT IN ('gone', 'adopted')"
            " UNION ALL SELECT 'pod ' || pod_id || ' ' || state FROM pod"
            " WHERE state <> 'terminated'"
        )
        found = [str(row[0]) for row in rows]
    return found + [f"work of {lease}" for agent in world.agents for lease in agent.host.working()]


def as_broken(law: str, found: list[str]) -> list[Broken]:
    return [Broken(law, said) for said in found]
