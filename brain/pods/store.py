"""All SQL of pods, keys and registries; that of volumes is in ``volume_store``."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func, select

from brain.plumbing import Tx
from brain.pods.models import Pod, Registry, SshKey
from kernel.errors import NotFound
from kernel.ids import AccountId, PodId, RegistryId, SshKeyId


async def load(tx: Tx, named: str, account_id: AccountId, *, lock: bool = False) -> Pod:
    """The account's pod by id, slug or name, those that are no more by their id alone;
    ``NotFound`` when it has no such one."""
    mine = select(Pod).where(Pod.account_id == account_id)
    by_id = named.startswith(PodId.prefix + "_")
    if by_id:
        query = mine.where(Pod.pod_id == PodId.parse(named))
    else:
        live = mine.where(Pod.ended_ns.is_(None))
        query = live.where((Pod.slug == named) | (Pod.name == named)).order_by(Pod.slug != named)
    if lock:
        query = query.with_for_update()
    found = await tx.scalar(query.limit(1).execution_options(populate_existing=True))
    if found is None:
        raise NotFound(f"You have no pod {named[:100]}.")
    return found


async def find(tx: Tx, pod_id: str, *, lock: bool = False) -> Pod | None:
    query = select(Pod).where(Pod.pod_id == pod_id)
    if lock:
        query = query.with_for_update()
    return await tx.scalar(query.execution_options(populate_existing=True))


async def page(
    tx: Tx, account_id: AccountId, *, after: str | None, limit: int, ended: bool = False
) -> list[Pod]:
    """Newest first; one more than ``limit`` when there is more."""
    query = select(Pod).where(Pod.account_id == account_id)
    if not ended:
        query = query.where(Pod.ended_ns.is_(None))
    if after is not None:
        query = query.where(Pod.pod_id < after)
    return list(await tx.scalars(query.order_by(Pod.pod_id.desc()).limit(limit + 1)))


async def count(tx: Tx, account_id: AccountId) -> int:
    query = select(func.count()).where(Pod.account_id == account_id, Pod.ended_ns.is_(None))
    return int(await tx.scalar(query) or 0)


async def name_taken(tx: Tx, account_id: AccountId, name: str) -> bool:
    query = select(Pod.pod_id).where(
        Pod.account_id == account_id, Pod.name == name, Pod.ended_ns.is_(None)
    )
    return await tx.scalar(query.limit(1)) is not None


async def live(tx: Tx) -> list[Pod]:
    """Every pod that is."""
    return list(await tx.scalars(select(Pod).where(Pod.ended_ns.is_(None))))


async def live_of(tx: Tx, account_id: AccountId) -> list[PodId]:
    query = select(Pod.pod_id).where(Pod.account_id == account_id, Pod.ended_ns.is_(None))
    return list(await tx.scalars(query))


async def ssh_keys(tx: Tx, account_id: AccountId) -> list[SshKey]:
    """The account's, the oldest first."""
    query = select(SshKey).where(SshKey.account_id == account_id).order_by(SshKey.ssh_key_id)
    return list(await tx.scalars(query))


async def key_lines(tx: Tx, account_ids: Collection[AccountId]) -> dict[AccountId, list[str]]:
    """Lines of authorized_keys of each account that has any."""
    rows = await tx.execute(
        select(SshKey.account_id, SshKey.line)
        .where(SshKey.account_id.in_(account_ids))
        .order_by(SshKey.ssh_key_id)
    )
    found: dict[AccountId, list[str]] = {}
    for account_id, line in rows:
        found.setdefault(account_id, []).append(line)
    return found


async def ssh_key(tx: Tx, account_id: AccountId, named: str) -> SshKey:
    """By id or name."""
    query = select(SshKey).where(SshKey.account_id == account_id)
    if named.startswith(SshKeyId.prefix + "_"):
        query = query.where(SshKey.ssh_key_id == SshKeyId.parse(named))
    else:
        query = query.where(SshKey.name == named)
    found = await tx.scalar(query.limit(1))
    if found is None:
        raise NotFound(f"You have no SSH key {named[:100]}.")
    return found


async def registries(tx: Tx, account_id: AccountId) -> list[Registry]:
    query = select(Registry).where(Registry.account_id == account_id)
    return list(await tx.scalars(query.order_by(Registry.registry_id)))


async def registry(tx: Tx, account_id: AccountId, named: str, *, lock: bool = False) -> Registry:
    """By id or name."""
    query = select(Registry).where(Registry.account_id == account_id)
    if named.startswith(RegistryId.prefix + "_"):
        query = query.where(Registry.registry_id == RegistryId.parse(named))
    else:
        query = query.where(Registry.name == named)
    if lock:
        query = query.with_for_update()
    found = await tx.scalar(query.limit(1))
    if found is None:
        raise NotFound(f"You have no registry credentials {named[:100]}.")
    return found


async def uses_registry(tx: Tx, registry_id: RegistryId) -> list[str]:
    """Names of the pods that pull with it."""
    query = select(Pod.name).where(Pod.registry_id == registry_id, Pod.ended_ns.is_(None))
    return list(await tx.scalars(query.order_by(Pod.name).limit(10)))
