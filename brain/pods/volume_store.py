"""All SQL of volumes: the owner's, the nodes' reports of them, and what nobody owns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ARRAY, BigInteger, Text, bindparam, func, select, text

from brain.marketplace import Node
from brain.plumbing import Tx
from brain.pods.core import GAP_NS
from brain.pods.models import StrayVolume, Volume
from brain.pods.states import LIVE_VOLUMES, VolumeState
from kernel.errors import NotFound
from kernel.ids import AccountId, PodId, VolumeId

_LIVE = [state.value for state in LIVE_VOLUMES]


async def load(tx: Tx, named: str, account_id: AccountId, *, lock: bool = False) -> Volume:
    """The account's volume by id or name; one that is gone by its id alone."""
    query = select(Volume).where(Volume.account_id == account_id)
    if named.startswith(VolumeId.prefix + "_"):
        query = query.where(Volume.volume_id == VolumeId.parse(named))
    else:
        query = query.where(Volume.name == named, Volume.state.in_(_LIVE))
    if lock:
        query = query.with_for_update()
    found = await tx.scalar(query.limit(1).execution_options(populate_existing=True))
    if found is None:
        raise NotFound(f"You have no volume {named[:100]}.")
    return found


async def by_name(tx: Tx, account_id: AccountId, name: str, *, lock: bool = False) -> Volume | None:
    query = select(Volume).where(
        Volume.account_id == account_id, Volume.name == name, Volume.state.in_(_LIVE)
    )
    if lock:
        query = query.with_for_update()
    return await tx.scalar(query.execution_options(populate_existing=True))


async def held(tx: Tx, volume_id: VolumeId) -> Volume | None:
    """Locked, as it is now."""
    return await tx.scalar(
        select(Volume)
        .where(Volume.volume_id == volume_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


async def of_pod(tx: Tx, pod_id: PodId, *, lock: bool = False) -> list[Volume]:
    """In the order of their birth."""
    query = select(Volume).where(Volume.pod_id == pod_id).order_by(Volume.volume_id)
    if lock:
        query = query.with_for_update()
    return list(await tx.scalars(query.execution_options(populate_existing=True)))


async def page(tx: Tx, account_id: AccountId, *, after: str | None, limit: int) -> list[Volume]:
    """Those that are, the newest first; one more than ``limit`` when there is more."""
    query = select(Volume).where(
        Volume.account_id == account_id, Volume.state != VolumeState.GONE.value
    )
    if after is not None:
        query = query.where(Volume.volume_id < after)
    return list(await tx.scalars(query.order_by(Volume.volume_id.desc()).limit(limit + 1)))


async def count(tx: Tx, account_id: AccountId) -> int:
    query = select(func.count()).where(Volume.account_id == account_id, Volume.state.in_(_LIVE))
    return int(await tx.scalar(query) or 0)


async def pods_with_unseen(tx: Tx, *, limit: int) -> list[PodId]:
    """Pods with a volume that was given a place and that no node has reported."""
    query = select(Volume.pod_id).where(
        Volume.state == VolumeState.NEW.value,
        Volume.node_id.is_not(None),
        Volume.pod_id.is_not(None),
    )
    found = await tx.scalars(query.distinct().order_by(Volume.pod_id).limit(limit))
    return [pod_id for pod_id in found if pod_id is not None]


async def to_look_at(tx: Tx, *, after: str, limit: int) -> list[VolumeId]:
    """Volumes on nodes, by id: those that may be due on the bill, or whose time may be over."""
    query = select(Volume.volume_id).where(
        Volume.volume_id > after, Volume.state == VolumeState.KEPT.value
    )
    return list(await tx.scalars(query.order_by(Volume.volume_id).limit(limit)))


async def without_node(tx: Tx, *, limit: int) -> list[VolumeId]:
    """Volumes whose node was removed from the installation, and comes back no more."""
    query = (
        select(Volume.volume_id)
        .join(Node, Node.node_id == Volume.node_id)
        .where(Volume.state != VolumeState.GONE.value, Node.revoked_at.is_not(None))
    )
    return list(await tx.scalars(query.order_by(Volume.volume_id).limit(limit)))


async def dropping(tx: Tx) -> list[tuple[VolumeId, str]]:
    """Volumes that nodes are told to remove, with their nodes."""
    rows = await tx.execute(
        select(Volume.volume_id, Volume.node_id).where(
            Volume.state == VolumeState.DROPPING.value, Volume.node_id.is_not(None)
        )
    )
    return [(row[0], str(row[1])) for row in rows]


@dataclass(frozen=True)
class Reported:
    """One volume as a node's beat told of it."""

    node_id: str
    volume_id: str
    used_mib: int
    at_ns: int


_TEXTS, _BIGS = ARRAY(Text), ARRAY(BigInteger)
_LISTS = (
    bindparam("nodes", type_=_TEXTS),
    bindparam("volumes", type_=_TEXTS),
    bindparam("used", type_=_BIGS),
    bindparam("ats", type_=_BIGS),
)
# As ``core.seen_at``, for all volumes of all nodes in one statement.
_SEEN = text(
    """
    UPDATE volume v SET
      used_mib = r.used_mib,
      owed_ns = CASE WHEN r.at_ns - v.seen_ns > :gap
        THEN v.owed_ns + v.seen_ns - v.from_ns ELSE v.owed_ns END,
      from_ns = CASE WHEN r.at_ns - v.seen_ns > :gap THEN r.at_ns ELSE v.from_ns END,
      seen_ns = r.at_ns
    FROM unnest(:nodes, :volumes, :used, :ats) AS r(node_id, volume_id, used_mib, at_ns)
    WHERE v.volume_id = r.volume_id AND v.node_id = r.node_id AND v.state = 'kept'
      AND r.at_ns > v.seen_ns
    """
).bindparams(*_LISTS)
_FRESH = text(
    """
    SELECT r.node_id, r.volume_id, r.used_mib, r.at_ns
    FROM unnest(:nodes, :volumes, :used, :ats) AS r(node_id, volume_id, used_mib, at_ns)
    JOIN volume v ON v.volume_id = r.volume_id
    WHERE v.state = 'new' AND (v.node_id IS NULL OR v.node_id = r.node_id)
    """
).bindparams(*_LISTS)
_STRAYS = text(
    """
    INSERT INTO stray_volume (node_id, volume_id, used_mib, first_ns, seen_ns)
    SELECT DISTINCT ON (r.node_id, r.volume_id)
      r.node_id, r.volume_id, r.used_mib, r.at_ns, r.at_ns
    FROM unnest(:nodes, :volumes, :used, :ats) AS r(node_id, volume_id, used_mib, at_ns)
    WHERE NOT EXISTS (
      SELECT 1 FROM volume v WHERE v.volume_id = r.volume_id AND v.state <> 'gone'
        AND (v.node_id = r.node_id OR v.node_id IS NULL))
    ON CONFLICT (node_id, volume_id) DO UPDATE
      SET used_mib = excluded.used_mib, seen_ns = excluded.seen_ns
    """
).bindparams(*_LISTS)


def _lists(reports: Sequence[Reported]) -> dict[str, list[str] | list[int]]:
    return {
        "nodes": [one.node_id for one in reports],
        "volumes": [one.volume_id for one in reports],
        "used": [one.used_mib for one in reports],
        "ats": [one.at_ns for one in reports],
    }


async def keep_seen(tx: Tx, reports: Sequence[Reported]) -> None:
    """Volumes where they belong were seen; what nobody owns there is written down."""
    await tx.execute(_SEEN, {**_lists(reports), "gap": GAP_NS})
    await tx.execute(_STRAYS, _lists(reports))


async def found_first(tx: Tx, reports: Sequence[Reported]) -> list[Reported]:
    """Of these the volumes that no node had reported before."""
    rows = await tx.execute(_FRESH, _lists(reports))
    return [Reported(*row) for row in rows]


async def forget_strays(tx: Tx, before_ns: int) -> None:
    """What no node has reported for long is there no more."""
    await tx.execute(
        text("DELETE FROM stray_volume WHERE seen_ns < :before"), {"before": before_ns}
    )


async def strays(tx: Tx, *, limit: int) -> list[StrayVolume]:
    query = select(StrayVolume).order_by(StrayVolume.first_ns, StrayVolume.volume_id)
    return list(await tx.scalars(query.limit(limit)))
