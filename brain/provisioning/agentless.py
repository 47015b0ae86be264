"""Renters' own images at clouds, with no agent of ours: what is ordered, when it was seen alive,
where it is reached. Nothing is dialled: all of it is the cloud's own word."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field

from brain.clouds import (
    Cloud,
    CloudError,
    CloudOffer,
    Container,
    Endpoint,
    HasEndpoints,
    Machine,
    MachineState,
    Order,
    RegistryAccess,
    RunsContainers,
)
from brain.fleet import launch_of, see_failed, see_running, stop_rented
from brain.plumbing import Tx
from brain.provisioning import core, store
from brain.provisioning.models import Intent
from brain.provisioning.turn import Turn, ask
from brain.secrets import LeaseSecrets
from kernel.clock import NS
from kernel.ids import LeaseId
from kernel.wire.agent import LaunchSpec, RegistryLogin

FRESH_SECONDS = 300  # so long a new machine's addresses may still come
FRESH_AGAIN_SECONDS = 15
AGAIN_SECONDS = 300  # then they change only when the cloud starts the container anew


async def order_of(tx: Tx, turn: Turn, row: Intent, offer: CloudOffer) -> Order:
    """The order of this row's next attempt, the same after a crash: from the lease alone, and from
    what was sealed for it."""
    assert row.tag is not None, "an order has a tag"
    launch = await launch_of(tx, row.lease_id)
    given = None if turn.vault is None else await turn.vault.of_lease(tx, row.lease_id)
    return Order(
        tag=row.tag,
        offer=offer,
        container=container_of(launch, given or LeaseSecrets()),
        disk_gib=row.disk_gib,
        ports=tuple(launch.ports),
        ssh_public_keys=tuple(row.ssh_keys),
        bid_nano=offer.price_nano if offer.spot else None,
    )


def container_of(launch: LaunchSpec, given: LeaseSecrets) -> Container:
    """What the cloud is to run; a secret stands before a variable of its name."""
    login = given.registry
    return Container(
        image=launch.image,
        command=tuple(launch.command),
        arguments=tuple(launch.arguments),
        env={**launch.environment, **given.environment},
        registry=None
        if login is None
        else RegistryAccess(login.server, login.username, login.password),
        shell=launch.shell,
    )


async def addresses(turn: Turn, row: Intent, machine: Machine | None) -> list[Endpoint] | None:
    """The cloud's word of where it is reached; None: not asked for now, or not told."""
    cloud = turn.clouds.get(row.cloud)
    now_ns = turn.ctx.clock.now_ns()
    if not row.agentless or not core.runs(machine) or not _due(row, now_ns):
        return None
    if cloud is None or not isinstance(cloud, HasEndpoints):
        return []
    assert row.machine_id is not None, "a machine that runs is known"
    try:
        return await ask(cloud.endpoints(row.machine_id))
    except CloudError:
        return None  # it is asked again at the next look


def _due(row: Intent, now_ns: int) -> bool:
    asked_ns, since_ns = row.endpoints_ns, row.enrolled_ns
    if asked_ns is None or since_ns is None:
        return True
    fresh = now_ns < since_ns + FRESH_SECONDS * NS
    return now_ns >= asked_ns + (FRESH_AGAIN_SECONDS if fresh else AGAIN_SECONDS) * NS


def keep_addresses(row: Intent, found: list[Endpoint] | None, now_ns: int) -> None:
    if found is not None:
        row.endpoints, row.endpoints_ns = [asdict(one) for one in found], now_ns


def note_health(row: Intent, machine: Machine, now_ns: int) -> None:
    """Since when the cloud lists it and does not say that it runs."""
    if machine.state is MachineState.RUNNING:
        row.unwell_ns = None
    elif row.unwell_ns is None:
        row.unwell_ns = now_ns


async def seen_alive(tx: Tx, turn: Turn, row: Intent, at_ns: int | None) -> None:
    """A complete listing, begun at ``at_ns``, says that it runs: until then it is billed."""
    if row.agentless and at_ns is not None:
        await see_running(tx, turn.watcher, row.lease_id, at_ns)


async def ask_end(tx: Tx, turn: Turn, row: Intent, why: str, *, failed: bool) -> None:
    """Its lease is to end, and closes when the cloud has proved that the machine is gone."""
    now_ns = turn.ctx.clock.now_ns()
    said = f"{row.cloud}: {why}"
    if failed:
        await see_failed(tx, turn.watcher, row.lease_id, said, now_ns=now_ns)
    else:
        await stop_rented(tx, turn.watcher, row.lease_id, said, now_ns=now_ns)


@dataclass(frozen=True)
class AtCloud:
    """Work that runs at a cloud with no agent of ours, and the cloud's own addresses of it."""

    cloud: str
    machine_id: str
    endpoints: tuple[Endpoint, ...]


async def at_clouds(tx: Tx, lease_ids: Collection[LeaseId]) -> dict[LeaseId, AtCloud]:
    """Of these leases those without an agent."""
    rows = await store.agentless(tx, lease_ids)
    return {
        row.lease_id: AtCloud(
            row.cloud,
            row.machine_id or "",
            tuple(Endpoint(**one) for one in row.endpoints),  # type: ignore[arg-type]
        )
        for row in rows
    }


@dataclass(frozen=True)
class CloudImages:
    """What the clouds say of renters' own images before anything is ordered."""

    clouds: Mapping[str, Cloud] = field(default_factory=dict)

    def refusals(self, launch: LaunchSpec, *, registry: bool) -> dict[str, str]:
        """The clouds that cannot run this as asked, each with why. ``registry``: the image needs
        credentials, which are not opened for this."""
        login = RegistryLogin("registry", "user", "password")
        container = container_of(launch, LeaseSecrets(registry=login if registry else None))
        said = {name: _refusal(cloud, container) for name, cloud in self.clouds.items()}
        return {name: why for name, why in said.items() if why}


def _refusal(cloud: Cloud, container: Container) -> str:
    if isinstance(cloud, RunsContainers):
        return cloud.refuses(container)
    if not cloud.facts.boots_containers:
        return f"{cloud.facts.title} rents virtual machines, and starts no image of a renter's."
    return f"{cloud.facts.title} starts no image of a renter's."
