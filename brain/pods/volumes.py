"""Verbs on volumes: make, attach, find on a node, bill, delete. A volume lies on one node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brain import billing, fleet
from brain.identity import PLATFORM_ACCOUNT
from brain.marketplace import Node
from brain.plumbing import Ctx, Tx, moves
from brain.pods import core, volume_store
from brain.pods.models import Pod, Volume
from brain.pods.states import LIVE_VOLUMES, VOLUME, VolumeEvent, VolumeState
from kernel.clock import NS
from kernel.errors import BadInput, Conflict, LimitReached, OutOfCredit
from kernel.ids import AccountId, NodeId, VolumeId

VOLUMES_MAX = 100  # of an account
DAY_NS = 86_400 * NS


@dataclass(frozen=True)
class Mount:
    """A volume of a pod, as asked: by id or name, or a new one of ``size_gib``."""

    path: str
    volume_id: str = ""
    name: str = ""
    size_gib: int | None = None


async def create(tx: Tx, ctx: Ctx, account_id: AccountId, name: str, size_gib: int) -> Volume:
    """A volume that lies on no node yet; the first pod that uses it gives it a place."""
    core.check_name(name)
    if not 1 <= size_gib <= core.VOLUME_GIB_MAX:
        raise BadInput(f"size_gib must lie between 1 and {core.VOLUME_GIB_MAX}.", param="size_gib")
    if await volume_store.by_name(tx, account_id, name) is not None:
        raise Conflict(
            f"You have a volume {name!r} already. Give another name.",
            code="name_taken",
            param="name",
        )
    if await volume_store.count(tx, account_id) >= VOLUMES_MAX:
        raise LimitReached(f"The account has {VOLUMES_MAX} volumes. Delete some first.")
    row = Volume(
        volume_id=ctx.ids.new(VolumeId),
        account_id=account_id,
        name=name,
        size_gib=size_gib,
        price_nano=await billing.storage_price(tx, ctx.clock.now()),
        used_mib=0,
        owed_ns=0,
        created_at=ctx.clock.now(),
    )
    return await moves.create(tx, row, VOLUME, reason="asked for", at=ctx.clock.now())


async def attach(tx: Tx, ctx: Ctx, pod: Pod, mounts: Sequence[Mount]) -> list[Volume]:
    """Give these volumes to a new pod, making those that are not there. In the order asked.

    ``Conflict`` when one is another pod's, or when they lie on several nodes.
    """
    found = [await _attached(tx, ctx, pod, mount) for mount in mounts]
    if len({row.volume_id for row in found}) != len(found):
        raise BadInput("A volume can be mounted once.", param="volumes")
    places = {row.node_id for row in found if row.node_id is not None}
    if len(places) > 1:
        said = ", ".join(f"{row.name} on {row.node_id}" for row in found if row.node_id)
        raise Conflict(
            f"These volumes lie on several nodes ({said}); a pod runs on one. Use volumes of one"
            " node, or new ones.",
            param="volumes",
        )
    return found


async def _attached(tx: Tx, ctx: Ctx, pod: Pod, mount: Mount) -> Volume:
    named = mount.volume_id or mount.name
    if not named:
        raise BadInput("Each volume needs a name or a volume_id.", param="volumes")
    row: Volume | None
    if mount.volume_id:
        row = await volume_store.load(tx, mount.volume_id, pod.account_id, lock=True)
    else:
        row = await volume_store.by_name(tx, pod.account_id, mount.name, lock=True)
    if row is None:
        if mount.size_gib is None:
            raise BadInput(
                f"You have no volume {mount.name!r}; give size_gib to make it.", param="volumes"
            )
        row = await create(tx, ctx, pod.account_id, mount.name, mount.size_gib)
    if VolumeState(row.state) not in LIVE_VOLUMES:
        raise Conflict(f"The volume {row.name} is {row.state}.", param="volumes")
    if row.pod_id is not None and row.pod_id != pod.pod_id:
        raise Conflict(
            f"The volume {row.name} is used by pod {row.pod_id}. Terminate that one first.",
            param="volumes",
        )
    if mount.size_gib is not None and mount.size_gib != row.size_gib:
        raise BadInput(
            f"The volume {row.name} has {row.size_gib} GiB; leave size_gib out or give that.",
            param="volumes",
        )
    row.pod_id = pod.pod_id
    await tx.flush()
    return row


async def give_place(tx: Tx, rows: Sequence[Volume], node_id: NodeId) -> None:
    """A pod was given a lease there: its volumes that lie nowhere yet will lie there."""
    for row in rows:
        if row.state == VolumeState.NEW.value:
            row.node_id = node_id
    await tx.flush()


async def take_place_back(tx: Tx, rows: Sequence[Volume]) -> None:
    """No lease is left and the node never reported them: nothing of theirs lies there."""
    for row in rows:
        if row.state == VolumeState.NEW.value:
            row.node_id = None
    await tx.flush()


async def find(tx: Tx, ctx: Ctx, volume_id: VolumeId, node_id: NodeId, at_ns: int) -> bool:
    """A node reports it for the first time: from now on it exists and is billed."""
    row = await volume_store.held(tx, volume_id)
    if row is None or row.state != VolumeState.NEW.value or row.node_id not in (None, node_id):
        return False
    node = await tx.get(Node, node_id)
    row.node_id = node_id
    row.provider = None if node is None else node.account_id
    row.found_ns = at_ns
    _put(row, core.found_at(at_ns))
    await moves.move(
        tx, row, VOLUME, VolumeEvent.FIND, reason="its node has it", at=ctx.clock.now()
    )
    return True


async def bill(tx: Tx, ctx: Ctx, row: Volume, *, ends: bool) -> bool:
    """Post what is due of a volume that the caller holds. True when something was."""
    kept = kept_of(row)
    if kept is None or not core.bill_due(kept, ends=ends):
        return False
    payer = None if row.grace_ns is not None else row.account_id
    await billing.storage_accrued(
        tx,
        ctx,
        billing.Stored(
            volume_id=row.volume_id,
            payer=None if payer == PLATFORM_ACCOUNT else payer,
            provider=row.provider,
            gib=row.size_gib,
            price_nano=row.price_nano,
            from_ns=kept.begun_ns,
            until_ns=kept.seen_ns,
            seen_ns=kept.unbilled_ns,
        ),
    )
    _put(row, core.billed(kept))
    await tx.flush()
    return True


async def delete(tx: Tx, ctx: Ctx, row: Volume, reason: str) -> None:
    """Remove a volume that the caller holds, and whatever is on it. ``Conflict`` while a pod has
    it. Removed already: nothing happens."""
    if VolumeState(row.state) not in LIVE_VOLUMES:
        return
    if row.pod_id is not None:
        raise Conflict(
            f"Pod {row.pod_id} uses this volume. Terminate the pod first; with delete_volumes its"
            " volumes go as well."
        )
    await drop(tx, ctx, row, reason)


async def drop(tx: Tx, ctx: Ctx, row: Volume, reason: str) -> None:
    """Have its node remove a volume that the caller holds and no lease uses."""
    await bill(tx, ctx, row, ends=True)
    await moves.move(tx, row, VOLUME, VolumeEvent.DROP, reason=reason[:500], at=ctx.clock.now())
    if row.node_id is None:
        await vanish(tx, ctx, row, "it lay on no node")
    else:
        await fleet.drop_volume(tx, row.node_id, row.volume_id)


async def vanish(tx: Tx, ctx: Ctx, row: Volume, reason: str) -> None:
    """It is proved that nothing is left of it."""
    row.ended_ns = ctx.clock.now_ns()
    await moves.move(tx, row, VOLUME, VolumeEvent.VANISH, reason=reason, at=ctx.clock.now())
    if row.node_id is not None:
        await fleet.volume_dropped(tx, row.node_id, row.volume_id)


async def lose(tx: Tx, ctx: Ctx, row: Volume) -> None:
    """Its node was removed, and nobody can be told to remove it. The caller holds the row."""
    reason = "its node was removed from the installation, with all that was on it"
    if VolumeState(row.state) in LIVE_VOLUMES:
        await bill(tx, ctx, row, ends=True)
        await moves.move(tx, row, VOLUME, VolumeEvent.DROP, reason=reason, at=ctx.clock.now())
    if row.state == VolumeState.DROPPING.value:
        await vanish(tx, ctx, row, reason)


async def follow_credit(tx: Tx, ctx: Ctx, row: Volume, grace_days: int) -> bool:
    """The account's credit ended, or is back: the grace time begins, ends, or is over. The caller
    holds the row. True when the volume was given up."""
    stopped = row.account_id != PLATFORM_ACCOUNT and await billing.account_stopped(
        tx, row.account_id
    )
    if stopped != (row.grace_ns is not None):
        await bill(tx, ctx, row, ends=True)  # what was until now is paid by who paid until now
        row.grace_ns = ctx.clock.now_ns() if stopped else None
        await tx.flush()
    if row.grace_ns is None or ctx.clock.now_ns() < lapses_ns(row.grace_ns, grace_days):
        return False
    await drop(tx, ctx, row, f"the account had no credit for {grace_days} days")
    return True


def lapses_ns(grace_ns: int, grace_days: int) -> int:
    """When a volume of an account without credit is given up."""
    return grace_ns + grace_days * DAY_NS


async def check_credit(tx: Tx, account_id: AccountId) -> None:
    """``OutOfCredit`` when nothing new may be begun."""
    if account_id != PLATFORM_ACCOUNT and not await billing.can_spend(tx, account_id):
        raise OutOfCredit("The account has no credit. Add credit, then try again.")


def kept_of(row: Volume) -> core.Kept | None:
    """Its time that is not billed yet; None before it was found."""
    if row.begun_ns is None or row.from_ns is None or row.seen_ns is None:
        return None
    return core.Kept(row.begun_ns, row.owed_ns, row.from_ns, row.seen_ns)


def _put(row: Volume, kept: core.Kept) -> None:
    row.begun_ns, row.owed_ns = kept.begun_ns, kept.owed_ns
    row.from_ns, row.seen_ns = kept.from_ns, kept.seen_ns
