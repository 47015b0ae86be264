"""The verb that rents: intent, node, lease and hold in the caller's transaction, or none."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from brain import billing, fleet, marketplace, offers
from brain.clouds import CloudOffer
from brain.plumbing import Tx, moves
from brain.provisioning import store
from brain.provisioning.core import at_of
from brain.provisioning.models import Intent
from brain.provisioning.states import INTENT, AccountState
from kernel.errors import NoCapacity
from kernel.ids import AccountId, DeploymentId, Ids, IntentId, NodeId, ReplicaId
from kernel.money import HourlyRate
from kernel.wire.agent import LaunchSpec

DISK_GIB = 40
SHUT = {
    AccountState.REFUSED: "refuses our credentials",
    AccountState.MISSING: "has no credentials in the settings",
}


@dataclass(frozen=True)
class Rent:
    """What a replica asks of one cloud offer, and who pays.

    ``vram_mib`` is what each GPU must really have. ``price_nano_max`` is the most that the renter
    pays for a GPU-hour; the price of the day the machine is rented stays for as long as it runs.
    """

    replica_id: ReplicaId
    deployment_id: DeploymentId
    cloud: str
    offer_key: str
    gpu_count: int
    launch: LaunchSpec
    payer: AccountId
    vram_mib: int = 0
    disk_gib: int = DISK_GIB
    model: str = ""
    price_nano_max: int | None = None
    mode: str = "dedicated"
    pool_rate_nano: int = 0
    ceiling_prompt_nano: int = 0
    ceiling_completion_nano: int = 0
    ttl_seconds: int = 600
    agentless: bool = False  # a renter's own image, which the cloud runs by itself
    ssh_keys: tuple[str, ...] = ()  # public, of its owner


async def rent(tx: Tx, wanted: Rent, *, now_ns: int, ids: Ids) -> fleet.LeaseView:
    """Write down the wish for one machine; the cloud is called later, from its row alone.

    Raises ``NoCapacity`` when the offer cannot be had (any more): plan again. Raises
    ``OutOfCredit`` when the payer cannot pay. Nothing is kept if the caller rolls back.
    """
    offer = await offers.admit(tx, wanted.cloud, wanted.offer_key, now_ns=now_ns)
    shut = SHUT.get(await store.account_state(tx, wanted.cloud) or AccountState.OPEN)
    if shut:
        raise NoCapacity(f"{wanted.cloud} {shut}.")
    if offer.gpus != wanted.gpu_count:
        raise NoCapacity(f"This offer has {offer.gpus} GPUs by now.")
    at = at_of(now_ns)
    price_nano = offers.marked_up(offer.price_nano, await billing.cloud_markup(tx, at))
    limit = wanted.price_nano_max
    if limit is not None and price_nano > limit:
        raise NoCapacity(f"It asks {HourlyRate(price_nano)}; {HourlyRate(limit)} is the most.")
    node_id = ids.new(NodeId)
    await marketplace.make_rented_node(
        tx,
        node_id,
        name=f"{wanted.cloud} {offer.gpu_name}"[:80],
        price_nano=price_nano,
        region=offer.region,
        at=at,
    )
    lease = await fleet.open_rented(
        tx, _claim(wanted, node_id), price_nano=price_nano, now_ns=now_ns, ids=ids
    )
    row = _intent(wanted, offer, lease, price_nano, now_ns, ids)
    await moves.create(tx, row, INTENT, reason="a replica was given this offer", at=at)
    return lease


def _claim(wanted: Rent, node_id: NodeId) -> fleet.Claim:
    return fleet.Claim(
        replica_id=wanted.replica_id,
        deployment_id=wanted.deployment_id,
        node_id=node_id,
        gpu_count=wanted.gpu_count,
        launch=wanted.launch,
        payer=wanted.payer,
        vram_mib=wanted.vram_mib,
        mode=wanted.mode,
        pool_rate_nano=wanted.pool_rate_nano,
        ceiling_prompt_nano=wanted.ceiling_prompt_nano,
        ceiling_completion_nano=wanted.ceiling_completion_nano,
        ttl_seconds=wanted.ttl_seconds,
        agentless=wanted.agentless,
    )


def _intent(
    wanted: Rent,
    offer: CloudOffer,
    lease: fleet.LeaseView,
    price_nano: int,
    now_ns: int,
    ids: Ids,
) -> Intent:
    disk = max(0, wanted.disk_gib - offer.disk_gib_included) * offer.storage_nano_gib_hour
    return Intent(
        intent_id=ids.new(IntentId),
        replica_id=wanted.replica_id,
        deployment_id=wanted.deployment_id,
        lease_id=lease.lease_id,
        node_id=lease.node_id,
        cloud=wanted.cloud,
        offer=asdict(offer),
        disk_gib=wanted.disk_gib,
        model=wanted.model,
        price_nano=price_nano,
        cost_nano_hour=offer.price_nano * offer.gpus + disk,
        ttl_seconds=wanted.ttl_seconds,
        agentless=wanted.agentless,
        ssh_keys=list(wanted.ssh_keys),
        endpoints=[],
        attempt=0,
        wanted=True,
        seen_state="",
        seen_said="",
        missing_count=0,
        failures=0,
        last_error="",
        planned_ns=now_ns,
        due_at=at_of(now_ns),
    )
