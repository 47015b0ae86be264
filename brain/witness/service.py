"""Verbs of the witness: take what a node signed, judge a lease whose bill is final."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from brain import billing, fleet
from brain.identity import PLATFORM_ACCOUNT
from brain.marketplace import node_keys
from brain.plumbing import Ctx, Tx
from brain.witness import core, store
from brain.witness.models import Dispute, LeaseMinute, LeaseWitness
from kernel.clock import NS
from kernel.errors import GanglionError
from kernel.ids import DisputeId, LeaseId, NodeId
from kernel.wire.minutes import Chain, Minute, MinuteAnswer, MinuteBatch, fault, minute_hash

WAIT_SECONDS = 3600  # after a lease's end, for records of a node that was away
BATCH = 100
SETTLED = "the lease is settled"
UNKNOWN = "it is no lease of this node"

_log = structlog.get_logger()


async def take(ctx: Ctx, node_id: NodeId, batch: MinuteBatch) -> MinuteAnswer:
    """Keep a node's records, each once and in order. May be repeated."""
    by_lease: dict[str, list[Minute]] = {}
    for record in batch.records:
        by_lease.setdefault(record.lease_id, []).append(record)
    answer = MinuteAnswer(kept={}, refused={})
    async with ctx.db.begin() as tx:
        keys = await node_keys(tx, node_id)
        for lease_id in sorted(by_lease):
            records = sorted(by_lease[lease_id], key=lambda record: record.number)
            await _take_lease(tx, ctx, node_id, lease_id, records, keys, answer)
    return answer


async def _take_lease(
    tx: Tx,
    ctx: Ctx,
    node_id: NodeId,
    text: str,
    records: Sequence[Minute],
    keys: Sequence[str],
    answer: MinuteAnswer,
) -> None:
    lease_id = _lease_id(text)
    lease = None if lease_id is None else await fleet.lease(tx, lease_id)
    parties = None if lease_id is None else await billing.lease_parties(tx, lease_id)
    if lease_id is None or parties is None or lease is None or lease.node_id != node_id:
        answer.refused[text] = UNKNOWN
        return
    row = await store.chain(tx, lease_id, node_id, parties.gpus)
    if row.judged_ns is not None or row.broken:
        answer.refused[text] = row.broken or SETTLED
        return
    known = await store.hashes(tx, lease_id, [record.number for record in records])
    for record in records:
        if record.number in known:
            if known[record.number] != minute_hash(str(node_id), record):
                row.broken = f"record {record.number} was signed twice, differently"
                break
            continue
        if record.epoch != lease.epoch:
            row.broken = f"record {record.number} is of epoch {record.epoch}"
            break
        row.broken = fault(
            _chain(row),
            record,
            node_id=str(node_id),
            gpus=row.gpus,
            signed=lambda message, signature: _signed(keys, message, signature),
        )
        if row.broken:
            break
        _keep(tx, ctx, row, node_id, record)
    await tx.flush()
    answer.kept[text] = row.number
    if row.broken:
        answer.refused[text] = row.broken
        _log.warning("minutes_refused", lease_id=text, node_id=node_id, reason=row.broken)


def _keep(tx: Tx, ctx: Ctx, row: LeaseWitness, node_id: NodeId, record: Minute) -> None:
    after = _chain(row).and_then(str(node_id), record)
    tx.add(
        LeaseMinute(
            lease_id=row.lease_id,
            number=record.number,
            epoch=record.epoch,
            start_ns=record.start_ns,
            end_ns=record.end_ns,
            container_ns=record.container_ns,
            gpu_ns=record.gpu_ns,
            previous=record.previous,
            hash=after.head,
            signature=record.signature,
            received_ns=ctx.clock.now_ns(),
        )
    )
    row.number, row.head, row.end_ns = after.number, after.head, after.end_ns
    row.container_ns, row.gpu_ns = after.container_ns, after.gpu_ns


def _chain(row: LeaseWitness) -> Chain:
    return Chain(row.number, row.head, row.end_ns, row.container_ns, row.gpu_ns)


def _signed(keys: Sequence[str], message: bytes, signature: bytes) -> bool:
    """By the key that the node has, or by one that it had when it sealed the record."""
    for key in keys:
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, message)
        except (InvalidSignature, ValueError):
            continue
        return True
    return False


def _lease_id(text: str) -> LeaseId | None:
    try:
        return LeaseId.parse(text)
    except GanglionError:
        return None


async def judge_due(ctx: Ctx, *, wait_seconds: int = WAIT_SECONDS) -> int:
    """Compare the final bills of leases that ended ``wait_seconds`` ago with what was signed.

    Returns how many disputes were opened. May run any number of times at once. One that cannot be
    judged stops no other; ``ExceptionGroup`` of their errors at the end.
    """
    before_ns = ctx.clock.now_ns() - wait_seconds * NS
    opened = 0
    failed: list[Exception] = []
    while not failed:
        async with ctx.db.begin() as tx:
            page = await billing.unwitnessed_leases(tx, closed_before_ns=before_ns, limit=BATCH)
        for metered in page:
            try:
                opened += await _judge(ctx, metered)
            except Exception as error:  # raised when all have had their turn
                error.add_note(f"lease {metered.lease_id}")
                failed.append(error)
        if len(page) < BATCH:
            break
    if failed:
        raise ExceptionGroup("leases that could not be judged", failed)
    return opened


async def _judge(ctx: Ctx, metered: billing.Metered) -> int:
    async with ctx.db.begin() as tx:
        if not await billing.lease_witnessed(tx, metered.lease_id, ctx.clock.now_ns()):
            return 0
        if metered.provider == PLATFORM_ACCOUNT:
            return 0  # our own machines: nobody's word against ours
        counts = await _counts(tx, ctx, metered)
        verdict = core.judge(counts)
        if verdict is None:
            return 0
        credit = 0
        if verdict.unproven:
            made = await billing.lease_credited(
                tx,
                ctx,
                metered.lease_id,
                unproven_gpu_ns=verdict.unproven,
                reason=verdict.reason,
            )
            credit = made.nano
        await ctx.reach("witness.credited")
        tx.add(
            Dispute(
                dispute_id=ctx.ids.new(DisputeId),
                lease_id=metered.lease_id,
                payer=metered.payer,
                provider=metered.provider,
                kind=verdict.kind.value,
                reason=verdict.reason,
                billed_gpu_ns=counts.billed,
                signed_gpu_ns=counts.signed,
                credit_nano=credit,
                at_ns=ctx.clock.now_ns(),
            )
        )
    if credit:
        await billing.after_credit(ctx, metered.payer)
    _log.warning("dispute_opened", lease_id=metered.lease_id, kind=verdict.kind.value)
    return 1


async def _counts(tx: Tx, ctx: Ctx, metered: billing.Metered) -> core.Counts:
    lease = await fleet.lease(tx, metered.lease_id)
    assert lease is not None, "a metered lease is the fleet's"
    row = await store.chain(tx, metered.lease_id, lease.node_id, metered.gpus)
    row.judged_ns = ctx.clock.now_ns()
    return core.Counts(
        gpus=metered.gpus,
        billed=metered.billed_gpu_ns,
        capacity=metered.gpus * (metered.closed_ns - metered.opened_ns),
        signed=row.gpu_ns,
        broken=row.broken,
    )
