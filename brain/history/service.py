"""Looks into the past: which series a caller may see, from when until when, and their buckets."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from brain import fleet
from brain.history import store
from brain.history.core import HOUR_S, TEN_SECONDS, Fold, Kind, Window, series_of, window
from brain.history.ports import Renters
from brain.history.store import Want
from brain.marketplace import node_of_account
from brain.plumbing import Ctx, Tx
from kernel.clock import NS
from kernel.errors import BadInput, NotFound
from kernel.ids import AccountId, DeploymentId, NodeId, ReplicaId

LEASES_MAX = 64
SERIES_MAX = 512


@dataclass(frozen=True)
class Ask:
    """As it is asked; seconds of the epoch. None: until now, an hour back, a step that fits."""

    from_s: int | None = None
    until_s: int | None = None
    step_s: int | None = None


@dataclass(frozen=True)
class Subject:
    """What one series is about, and for which time the caller may see it."""

    kind: Kind
    node_id: NodeId
    name: str = ""  # a GPU's UUID or a lease's id
    replica_id: ReplicaId | None = None
    from_s: int = 0
    until_s: int = 2**53

    @property
    def series(self) -> int:
        names = (str(self.node_id), self.name) if self.name else (str(self.node_id),)
        return series_of(self.kind, *names)


@dataclass(frozen=True)
class Found:
    """``folds`` by the subject's place: by a bucket's start, the fold of each slot."""

    window: Window
    subjects: tuple[Subject, ...]
    folds: tuple[dict[int, list[Fold]], ...]


@dataclass(frozen=True)
class Asker:
    """``account_id`` looks; ``owners`` are the accounts whose deployments it may look into.
    ``every_node``: an administrator, who may look into each node as its provider does."""

    account_id: AccountId
    owners: tuple[AccountId, ...]
    every_node: bool = False


async def of_node(
    ctx: Ctx, renters: Renters, who: Asker, node_id: NodeId, gpu: str | None, ask: Ask
) -> Found:
    """The provider sees the whole node; a renter the GPUs of its leases, while it had them."""
    span = _window(ctx, ask)
    async with ctx.db.begin() as tx:
        if await _provides(tx, node_id, who):
            subjects = await _whole_node(tx, node_id, span)
        else:
            subjects = await _rented(tx, renters, who, node_id, span)
    if not subjects:
        raise NotFound("There is no node with this id that you may look into.")
    if gpu is not None:
        subjects = [one for one in subjects if one.kind is Kind.GPU and one.name == gpu]
        if not subjects:
            raise NotFound(f"You may look into no GPU {gpu} of this node.")
    return await _read(ctx, span, subjects)


async def of_deployment(
    ctx: Ctx, renters: Renters, who: Asker, deployment_id: DeploymentId, ask: Ask
) -> Found:
    """Workers and GPUs of its replicas, each while its lease lasted."""
    span = _window(ctx, ask)
    async with ctx.db.begin() as tx:
        replicas = await renters.deployment(tx, deployment_id, who.owners)
        spans = await _leases(tx, span, replica_ids=replicas)
    return await _read(ctx, span, _of_leases(spans))


async def of_replica(
    ctx: Ctx, renters: Renters, who: Asker, replica_id: ReplicaId, ask: Ask
) -> Found:
    span = _window(ctx, ask)
    async with ctx.db.begin() as tx:
        await renters.replica(tx, replica_id, who.owners)
        spans = await _leases(tx, span, replica_ids=[replica_id])
    return await _read(ctx, span, _of_leases(spans))


def _window(ctx: Ctx, ask: Ask) -> Window:
    now_s = ctx.clock.now_ns() // NS
    until_s = now_s if ask.until_s is None else min(ask.until_s, now_s)
    from_s = until_s - HOUR_S if ask.from_s is None else ask.from_s
    return window(from_s, until_s, ask.step_s, now_s)


async def _provides(tx: Tx, node_id: NodeId, who: Asker) -> bool:
    if who.every_node:
        return await fleet.node_known(tx, node_id)
    try:
        await node_of_account(tx, node_id, who.account_id)
    except NotFound:
        return False
    return True


async def _whole_node(tx: Tx, node_id: NodeId, span: Window) -> list[Subject]:
    """The machine and its GPUs: those of now, and those that leases of the time held."""
    now = await fleet.node_gpu_uuids(tx, node_id)
    spans = await _leases(tx, span, node_id=node_id)
    then = [uuid for one in spans for uuid in one.gpu_uuids]
    uuids = dict.fromkeys([*now, *then])
    return [Subject(Kind.NODE, node_id), *(Subject(Kind.GPU, node_id, uuid) for uuid in uuids)]


async def _rented(
    tx: Tx, renters: Renters, who: Asker, node_id: NodeId, span: Window
) -> list[Subject]:
    spans = await _leases(tx, span, node_id=node_id)
    theirs = await renters.theirs(tx, {one.deployment_id for one in spans}, who.owners)
    return _of_leases([one for one in spans if one.deployment_id in theirs])


async def _leases(
    tx: Tx,
    span: Window,
    *,
    node_id: NodeId | None = None,
    replica_ids: Sequence[ReplicaId] | None = None,
) -> list[fleet.LeaseSpan]:
    return await fleet.lease_spans(
        tx,
        since_ns=span.from_s * NS,
        until_ns=span.until_s * NS,
        limit=LEASES_MAX,
        node_id=node_id,
        replica_ids=replica_ids,
    )


def _of_leases(spans: Collection[fleet.LeaseSpan]) -> list[Subject]:
    """A bucket at a lease's edge may hold another's readings, and a beat tells of the time since
    the one before: the first ten seconds, and buckets that are not wholly the lease's, are left
    out."""
    found = []
    for one in spans:
        from_s = _up(-(-one.opened_ns // NS), TEN_SECONDS) + TEN_SECONDS
        until_s = 2**53 if one.closed_ns is None else one.closed_ns // NS
        names = [(Kind.WORKER, str(one.lease_id)), *((Kind.GPU, uuid) for uuid in one.gpu_uuids)]
        found += [
            Subject(kind, one.node_id, name, one.replica_id, from_s, until_s)
            for kind, name in names
        ]
    return found


async def _read(ctx: Ctx, span: Window, subjects: Sequence[Subject]) -> Found:
    if len(subjects) > SERIES_MAX:
        raise BadInput(f"That is more than {SERIES_MAX} series: name one GPU or one replica.")
    wants = [
        Want(
            one.series,
            _up(max(one.from_s, span.from_s), span.base_s),
            min(one.until_s, span.until_s) // span.base_s * span.base_s,
        )
        for one in subjects
    ]
    async with ctx.db.begin() as tx:
        folds = await store.read(tx, wants, base_s=span.base_s, step_s=span.step_s)
    return Found(span, tuple(subjects), tuple(folds))


def _up(at_s: int, base_s: int) -> int:
    """The first bucket that lies wholly after: a minute that another's lease began is not shown."""
    return -(-at_s // base_s) * base_s
