"""Leases of machines that are rented for them: opened before the machine is there, taken up with
its agent's first beat, ended when the machine is to go.

On some no agent of ours runs: there the cloud's word stands in its place, and nothing beats."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy.exc import IntegrityError

from brain.billing import LeaseTerms, lease_evidence, lease_opened
from brain.fleet import core, leases, store
from brain.fleet.core import Outcome
from brain.fleet.models import Lease
from brain.fleet.ports import LeaseWatcher
from brain.fleet.states import LEASE, LeaseEvent, LeaseState
from brain.fleet.views import Claim, LeaseView
from brain.identity import PLATFORM_ACCOUNT
from brain.marketplace import revoke_node
from brain.plumbing import Ctx, Tx
from brain.plumbing.moves import create
from kernel.clock import at_ns
from kernel.ids import Ids, LeaseId, NodeId
from kernel.wire.agent import LaunchSpec, LeaseSeen, LeaseSeenState


async def open_rented(
    tx: Tx, wanted: Claim, *, price_nano: int, now_ns: int, ids: Ids
) -> LeaseView:
    """The lease of a machine that is about to be rented, on a node that was just made for it.

    Its GPUs join with the first beat. Raises ``OutOfCredit`` when the payer cannot pay.
    """
    assert wanted.gpu_count >= 1, "a machine is rented for its GPUs"
    await store.add_rented(tx, wanted.node_id)
    row = Lease(
        lease_id=ids.new(LeaseId),
        node_id=wanted.node_id,
        epoch=store.FIRST_EPOCH,
        generation=store.FIRST_GENERATION,
        replica_id=wanted.replica_id,
        deployment_id=wanted.deployment_id,
        gpu_count=wanted.gpu_count,
        launch=msgspec.json.encode(wanted.launch),
        ttl_seconds=wanted.ttl_seconds,
        awaits_mib=wanted.vram_mib,
        agentless=wanted.agentless,
        opened_ns=now_ns,
        renewed_ns=0,
        seen_reason="",
        seen_port=0,
        seen_restarts=0,
    )
    await create(tx, row, LEASE, reason="a machine is rented for a replica", at=at_ns(now_ns))
    await lease_opened(tx, _terms(row, wanted, price_nano), ids)
    return leases.view_of(row, (), silent=False)


def _terms(row: Lease, wanted: Claim, price_nano: int) -> LeaseTerms:
    return LeaseTerms(
        lease_id=row.lease_id,
        epoch=row.epoch,
        payer=wanted.payer,
        provider=PLATFORM_ACCOUNT,
        gpus=row.gpu_count,
        renter_rate_nano=price_nano,
        provider_rate_nano=price_nano,
        mode=wanted.mode,
        pool_rate_nano=wanted.pool_rate_nano,
        ceiling_prompt_nano=wanted.ceiling_prompt_nano,
        ceiling_completion_nano=wanted.ceiling_completion_nano,
        deployment_id=row.deployment_id,
        replica_id=row.replica_id,
        opened_ns=row.opened_ns,
    )


async def take_up(ctx: Ctx, watcher: LeaseWatcher, node_id: NodeId) -> bool:
    """The machine spoke: its GPUs join the lease, all or none. True when the lease changed.

    A machine that shows no GPU yet is waited for; its intent has a deadline. One with other GPUs
    than were paid for ends the lease.
    """
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        lease_id = await store.awaiting_lease(tx, node_id)
        row = None if lease_id is None else await leases.locked(tx, watcher, lease_id)
        if row is None or row.awaits_mib is None:
            return False
        gpus = await store.node_gpus(tx, node_id)
        if not gpus:
            return False
        wrong = core.other_gpus([g.memory_mib for g in gpus], row.gpu_count, row.awaits_mib)
        if wrong:
            await leases.close(tx, row, LeaseEvent.LOSE, Outcome.LOST, wrong, now_ns)
            return True
        await _join(tx, row, [gpu.gpu_uuid for gpu in gpus[: row.gpu_count]], now_ns)
        await ctx.reach("fleet.gpus_joining")
    await ctx.reach("fleet.gpus_joined")
    return True


async def _join(tx: Tx, row: Lease, uuids: list[str], now_ns: int) -> None:
    try:
        async with tx.begin_nested():
            await store.add_lease_gpus(tx, row.lease_id, row.node_id, uuids)
    except IntegrityError:  # the index: the last word on double claims
        why = "a GPU of the machine is held by another lease"
        await leases.close(tx, row, LeaseEvent.LOSE, Outcome.LOST, why, now_ns)
        return
    row.awaits_mib = None
    row.joined_ns = row.renewed_ns = now_ns
    await tx.flush()
    await store.raise_generation(tx, row.node_id)
    node = await store.fleet_node(tx, row.node_id, lock=True)
    assert node is not None, "made with the lease"
    row.generation = node.generation
    await tx.flush()


async def retire_rented(tx: Tx, node_id: NodeId, at: datetime) -> None:
    """Its machine is to go: the node's agent is sent away. May be repeated."""
    await revoke_node(tx, node_id, at)
    await store.touch_node(tx, node_id)


async def see_running(tx: Tx, watcher: LeaseWatcher, lease_id: LeaseId, at_ns: int) -> None:
    """The cloud listed the machine of an agentless lease as running at ``at_ns``: its work runs,
    and was seen alive. What is to stop, or is over, is seen alive no more. May be repeated."""
    row = await store.lease(tx, lease_id)
    if row is None or row.state != LeaseState.OPEN.value:
        return
    assert row.agentless, "who has an agent is seen by it"
    at_ns = max(at_ns, row.opened_ns)  # a list that was long in coming
    if row.seen_state != LeaseSeenState.READY.value:
        held = await leases.locked(tx, watcher, lease_id)
        if held is None or held.state != LeaseState.OPEN.value:
            return
        await leases.take_in(tx, held, _said(held, LeaseSeenState.READY), now_ns=at_ns)
    await lease_evidence(tx, {lease_id: at_ns})


async def see_failed(
    tx: Tx, watcher: LeaseWatcher, lease_id: LeaseId, reason: str, *, now_ns: int
) -> None:
    """The cloud says that the work of an agentless lease failed: a start that counts as such. The
    lease is to stop, and closes when its machine is proved gone. May be repeated."""
    row = await leases.locked(tx, watcher, lease_id)
    if row is not None and row.state == LeaseState.OPEN.value:
        assert row.agentless, "who has an agent is seen by it"
        seen = _said(row, LeaseSeenState.FAILED, reason)
        await leases.take_in(tx, row, seen, now_ns=now_ns)


async def stop_rented(
    tx: Tx, watcher: LeaseWatcher, lease_id: LeaseId, reason: str, *, now_ns: int
) -> None:
    """Ask for the end of an agentless lease on its cloud's account. May be repeated."""
    if await leases.locked(tx, watcher, lease_id) is not None:
        await leases.stop_lease(tx, lease_id, reason, now_ns=now_ns)


def _said(row: Lease, state: LeaseSeenState, reason: str = "") -> LeaseSeen:
    return LeaseSeen(lease_id=str(row.lease_id), epoch=row.epoch, state=state, reason=reason)


async def launch_of(tx: Tx, lease_id: LeaseId) -> LaunchSpec:
    """What a lease runs, as it was claimed; without what it was given of secrets."""
    row = await store.lease(tx, lease_id)
    assert row is not None, "a lease's row is never deleted"
    return msgspec.json.decode(row.launch, type=LaunchSpec)


async def end_rented(
    tx: Tx, watcher: LeaseWatcher, lease_id: LeaseId, reason: str, *, now_ns: int
) -> None:
    """Close the lease without its agent's word: its machine is to go, or is gone. May be
    repeated. What was not seen alive is not billed."""
    row = await leases.locked(tx, watcher, lease_id)
    if row is not None:
        await leases.close(tx, row, LeaseEvent.LOSE, Outcome.LOST, reason, now_ns)
